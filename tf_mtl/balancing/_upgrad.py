"""Unconflicting projection of gradients."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import Preference, importance, preferred
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class UPGrad(Weighting):
    r"""UPGrad: each gradient is projected on the cone of directions that conflict with none, and the mean is taken.

    $w = \sum_i \arg\min_{v \ge p_i e_i} v^\top G v$. It never conflicts with a task. A task whose gradient is zero, as
    without labels, does not count.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Quinton & Rey, "Jacobian Descent for Multi-Objective Optimization", 2024.

    Args:
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: for a preference that is negative, or zero for all.

    Example:

    >>> jacobian = np.array([[-4.0, 1, 1], [6, 1, 1]])
    >>> mtl.balancing.UPGrad()(jacobian @ jacobian.T).numpy().round(4).tolist()
    [1.1111, 0.7895]
    """

    def __init__(self, preference: Preference = None, name: str | None = None):
        super().__init__(name=name)
        self.preference = preferred(preference)

    def build(self, input_shape):
        self.importance = importance(self.preference, self.tasks, input_shape[0])

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        projections = _solvers.minimum_above(gramian, tf.linalg.diag(self.importance))
        return tf.cast(tf.reduce_sum(projections, 0), gramian.dtype)

    def get_config(self):
        return {**super().get_config(), "preference": self.preference}
