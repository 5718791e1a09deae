"""Aligned multi-task learning."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing import _gramians
from tf_mtl.balancing._arguments import one_of
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._preference import Preference, WithPreference


@keras.saving.register_keras_serializable("tf_mtl")
class AlignedMTL(WithPreference, Weighting):
    r"""Aligned-MTL: the gradients are replaced by the nearest orthogonal vectors of equal length, and averaged.

    With $G = V \Lambda V^\top$, $w = \sqrt{\sigma}\, V \Lambda^{-1/2} V^\top p$. Only the r largest eigenvalues are
    used: r is the number of eigenvalues of the matrix of cosines that are above $4 T \epsilon$ times the largest, where
    epsilon is the precision of the Gramian's dtype.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Senushkin et al., "Independent Component Alignment for Multi-Task Learning", CVPR 2023.

    Args:
        scale: How sigma is computed from the eigenvalues: "min", the smallest (as in the paper); "median"; or "rmse",
            the mean.
        preference: p, the tasks' importance: `{task: importance}`, or a list in their order. Scaled to the sum 1.
        name: Name of the layer.

    Raises:
        ValueError: for an unknown `scale`, or if a number in `preference` is negative, or all are zero.

    Example:

    >>> mtl.balancing.AlignedMTL()(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.25, 0.5]
    """

    def __init__(self, scale: str = "min", preference: Preference = None, name: str | None = None):
        super().__init__(preference, name)
        self.scale = one_of("scale", scale, ("min", "median", "rmse"))

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        values, vectors, is_significant = _gramians.eigen(gramian)
        inverse = tf.where(is_significant, tf.math.rsqrt(tf.where(is_significant, values, 1)), 0)
        weights = tf.linalg.matvec(vectors, inverse * tf.linalg.matvec(vectors, self.importance, transpose_a=True))
        return tf.cast(tf.sqrt(self._sigma(values, is_significant)) * weights, gramian.dtype)

    def _sigma(self, values: tf.Tensor, is_significant: tf.Tensor) -> tf.Tensor:
        size = values.shape[0]
        count = tf.reduce_sum(tf.cast(is_significant, tf.int32))
        if self.scale == "rmse":
            return tf.math.divide_no_nan(tf.reduce_sum(tf.where(is_significant, values, 0)), tf.cast(count, tf.float64))
        if self.scale == "min":
            return tf.gather(values, tf.minimum(size - count, size - 1))
        middle = size - count + tf.stack([(count - 1) // 2, count // 2])
        return tf.reduce_mean(tf.gather(values, tf.clip_by_value(middle, 0, size - 1)))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
