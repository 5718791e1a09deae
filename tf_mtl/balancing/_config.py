"""Conflict-free directions."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _gramians
from tf_mtl.balancing._base import Aggregator
from tf_mtl.balancing._preference import WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class ConFIG(WithPreference, Aggregator):
    r"""ConFIG: the direction with the same cosine to every gradient.

    $d = (\sum_t g_t \cdot \hat d)\, \hat d$ with $\hat d = U^+ 1 / \lVert U^+ 1 \rVert$, where the rows of U are the
    unit gradients; computed with $U^+ = U^\top (U U^\top)^+$. With a preference, the cosines are proportional to it. A
    task whose gradient is zero, such as one without labels, is left out.

    Needs: the Jacobian.
    Cost: one backward pass per task.
    Reference: Liu, Chu & Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks",
        ICLR 2025.

    Args:
        preference: The tasks' importance: `{task: importance}`, or a list in their order.
        name: Name of the layer.

    Raises:
        ValueError: if a number in `preference` is negative, or all are zero.

    Example:

    >>> mtl.balancing.ConFIG()(np.array([[-4.0, 1, 1], [6, 1, 1]])).numpy().round(4).tolist()
    [0.1588, 2.0706, 2.0706]
    """

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P]."""
        unit = _gramians.unit_diagonal(tf.matmul(jacobian, jacobian, transpose_b=True))
        unit_weights = _gramians.equal_cosines(unit, unit.present * self.importance)
        products = tf.linalg.matvec(unit.cosines, unit_weights)
        length = tf.math.divide_no_nan(
            tf.reduce_sum(unit.present * unit.norms * products), tf.reduce_sum(unit_weights * products)
        )
        weights = tf.cast(length * unit_weights / unit.norms, jacobian.dtype)
        return tf.linalg.matvec(jacobian, weights, transpose_a=True)
