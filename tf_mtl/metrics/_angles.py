"""The angles between predicted and labelled directions."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._shapes import match_rank

_BINS = 1800


@keras.saving.register_keras_serializable("tf_mtl")
class Angles(keras.metrics.Metric):
    """The mean and the median angle, in degrees, between predicted and labelled directions.

    Labels and predictions are vectors [..., D] of any length; labels of zeros do not count. The median is exact to 0.1
    degrees, the width of the bins of a histogram.

    Args:
        name: Name of the metric; the results are named `mean_angle` and `median_angle`.
        dtype: The dtype of the results.

    Example:

    >>> metric = mtl.metrics.Angles()
    >>> metric.update_state(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> round(float(metric.result()["mean_angle"]), 2)
    45.0
    """

    _direction = "down"  # for callbacks with mode="auto"

    def __init__(self, name: str = "angles", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.sums = self.add_variable((2,), "zeros", "float32", name="sums")  # of angles, of weights
        self.histogram = self.add_variable((_BINS,), "zeros", "float32", name="histogram")

    @property
    def result_names(self) -> list[str]:
        """The names of the results, in their order."""
        return ["mean_angle", "median_angle"]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels and predictions [..., D], with weights [B] or one per position."""
        y_pred = tf.cast(y_pred, tf.float32)
        y_true = tf.cast(y_true, tf.float32)
        weight = tf.cast(tf.reduce_any(y_true != 0, -1), tf.float32)
        if sample_weight is not None:
            weight *= match_rank(tf.cast(sample_weight, tf.float32), len(weight.shape))
        a, b = (tf.math.l2_normalize(x, -1) for x in (y_true, y_pred))
        # Of two unit vectors: exact for small angles, unlike the arc cosine.
        angles = 2 * tf.atan2(tf.norm(a - b, axis=-1), tf.norm(a + b, axis=-1)) * (180 / math.pi)
        angles = tf.where(weight > 0, angles, 0.0)
        self.sums.assign_add(tf.stack([tf.reduce_sum(weight * angles), tf.reduce_sum(weight)]))
        bins = tf.cast(tf.minimum(angles * (_BINS / 180), _BINS - 1), tf.int32)
        flat = tf.reshape(weight, [-1]), tf.reshape(bins, [-1])
        self.histogram.assign_add(tf.math.unsorted_segment_sum(*flat, _BINS))

    def result(self) -> dict[str, tf.Tensor]:
        """Return a dict of `mean_angle` and `median_angle`; 0 without a label."""
        total, weight = tf.unstack(tf.convert_to_tensor(self.sums))
        below = tf.cumsum(tf.convert_to_tensor(self.histogram))
        middle = [
            tf.reduce_sum(tf.cast(is_below, tf.float32)) for is_below in (below < weight / 2, below <= weight / 2)
        ]
        median = (middle[0] + middle[1]) / 2 + 0.5
        median = tf.where(weight > 0, median * (180 / _BINS), 0.0)
        median = tf.where(tf.math.is_finite(total), median, np.nan)
        return dict(zip(self.result_names, (tf.math.divide_no_nan(total, weight), median), strict=True))
