"""Projection of the mean gradient onto the dual cone."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class DualProj(WithPreference, Weighting):
    r"""DualProj: the mean gradient, projected onto the cone of directions that conflict with no task.

    $w = \arg\min_{v \ge p} v^\top G v$. A task whose gradient is zero, such as one without labels, has no effect.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Lopez-Paz & Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017.

    Args:
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: if a number in `preference` is negative, or all are zero.

    Example:

    >>> jacobian = np.array([[-4.0, 1, 1], [6, 1, 1]])
    >>> mtl.balancing.DualProj()(jacobian @ jacobian.T).numpy().round(4).tolist()
    [0.6111, 0.5]
    """

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        return tf.cast(_solvers.minimum_above(gramian, self.importance[None])[0], gramian.dtype)
