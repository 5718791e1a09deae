"""Unconflicting projection of gradients."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class UPGrad(WithPreference, Weighting):
    r"""UPGrad: the mean of the gradients, each projected onto the cone of directions that conflict with no task.

    $w = \sum_i \arg\min_{v \ge p_i e_i} v^\top G v$. The direction never conflicts with a task. A task
    whose gradient is zero, such as one without labels, has no effect.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Args:
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: if a number in `preference` is negative, or all are zero.

    Example:

    >>> jacobian = np.array([[-4.0, 1, 1], [6, 1, 1]])
    >>> mtl.balancing.UPGrad()(jacobian @ jacobian.T).numpy().round(4).tolist()
    [1.1111, 0.7895]
    """

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        projections = _solvers.minimum_above(gramian, tf.linalg.diag(self.importance))
        return tf.cast(tf.reduce_sum(projections, 0), gramian.dtype)
