"""Aligned multi-task learning."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import Preference, importance, one_of, preferred
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class AlignedMTL(Weighting):
    r"""Aligned-MTL: the gradients are replaced by the nearest orthogonal ones of equal length.

    With $G = V \Lambda V^\top$, $w = \sqrt{\sigma}\, V \Lambda^{-1/2} V^\top p$, over the eigenvalues above
    $T \epsilon$ of the largest, where epsilon is the rounding of the Gramian's type.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023.

    Args:
        scale: sigma of the eigenvalues: "min", the smallest (as in the paper); "median"; "rmse", the mean.
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: for another scale, or a preference that is negative, or zero for all.

    Example:

    >>> mtl.balancing.AlignedMTL()(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.25, 0.5]
    """

    def __init__(self, scale: str = "min", preference: Preference = None, name: str | None = None):
        super().__init__(name=name)
        self.scale = one_of("scale", scale, ("min", "median", "rmse"))
        self.preference = preferred(preference)

    def build(self, input_shape):
        self.importance = importance(self.preference, self.tasks, input_shape[0])

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        values, vectors, kept = _solvers.eigen(gramian)
        inverse = tf.where(kept, tf.math.rsqrt(tf.where(kept, values, 1)), 0)
        weights = tf.linalg.matvec(vectors, inverse * tf.linalg.matvec(vectors, self.importance, transpose_a=True))
        return tf.cast(tf.sqrt(self._sigma(values, kept)) * weights, gramian.dtype)

    def _sigma(self, values, kept):
        size = values.shape[0]
        count = tf.reduce_sum(tf.cast(kept, tf.int32))
        if self.scale == "rmse":
            return tf.math.divide_no_nan(tf.reduce_sum(tf.where(kept, values, 0)), tf.cast(count, tf.float64))
        if self.scale == "min":
            return tf.gather(values, tf.minimum(size - count, size - 1))
        middle = size - count + tf.stack([(count - 1) // 2, count // 2])
        return tf.reduce_mean(tf.gather(values, tf.clip_by_value(middle, 0, size - 1)))

    def get_config(self):
        return {**super().get_config(), "scale": self.scale, "preference": self.preference}
