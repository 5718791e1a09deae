"""Conflict-free directions."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import Preference, importance, preferred
from tf_mtl.balancing._base import Aggregator


@keras.saving.register_keras_serializable("tf_mtl")
class ConFIG(Aggregator):
    r"""ConFIG: the direction with the same cosine to every gradient.

    $d = (\sum_t g_t \cdot \hat d)\, \hat d$ with $\hat d = U^+ 1 / \lVert U^+ 1 \rVert$ and the unit gradients as rows
    of U; computed as $U^+ = U^\top (U U^\top)^+$. Under a preference the cosines are in its proportion. A task whose
    gradient is zero, as without labels, is left out.

    Needs: the Jacobian.
    Cost: one backward pass per task.
    Reference: Liu, Chu & Thuerey, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks",
        ICLR 2025.

    Args:
        preference: The tasks' importance: `{task: importance}`, or a list in their order.
        name: Name of the layer.

    Raises:
        ValueError: for a preference that is negative, or zero for all.

    Example:

    >>> mtl.balancing.ConFIG()(np.array([[-4.0, 1, 1], [6, 1, 1]])).numpy().round(4).tolist()
    [0.1588, 2.0706, 2.0706]
    """

    def __init__(self, preference: Preference = None, name: str | None = None):
        super().__init__(name=name)
        self.preference = preferred(preference)

    def build(self, input_shape):
        self.importance = importance(self.preference, self.tasks, input_shape[0])

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P]."""
        unit = _solvers.unit_diagonal(tf.matmul(jacobian, jacobian, transpose_b=True))
        y = _solvers.equal_cosines(unit, unit.present * self.importance)
        products = tf.linalg.matvec(unit.cosines, y)
        length = tf.math.divide_no_nan(tf.reduce_sum(unit.present * unit.norms * products), tf.reduce_sum(y * products))
        weights = tf.cast(length * y / unit.norms, jacobian.dtype)
        return tf.linalg.matvec(jacobian, weights, transpose_a=True)

    def get_config(self):
        return {**super().get_config(), "preference": self.preference}
