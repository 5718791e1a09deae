"""The fraction of keypoints that are near enough."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class CorrectKeypoints(keras.metrics.Mean):
    """PCK, the percentage of correct keypoints: the fraction of points within a distance of their labels.

    Args:
        distance: The largest distance of a correct point, in pixels.
        name: Name of the metric.
        dtype: The dtype of the result.

    Raises:
        ValueError: if the distance is not positive.

    Reference: Yang & Ramanan, "Articulated human detection with flexible mixtures of parts", PAMI 2013.

    Example:

    >>> metric = mtl.metrics.CorrectKeypoints(distance=2.0)
    >>> metric.update_state(np.array([[[5.0, 5.0], [9.0, 9.0]]]), np.array([[[6.0, 6.0], [9.0, 12.0]]]))
    >>> float(metric.result())
    0.5
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, distance: float, name: str = "pck", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.distance = float(in_range("distance", distance, 0, open_low=True))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labelled and predicted points (x, y), both [B, K, 2], with weights [B] or [B, K]."""
        y_pred = tf.convert_to_tensor(y_pred)
        distance = tf.norm(tf.cast(y_true, y_pred.dtype) - y_pred, axis=-1)
        correct = tf.where(tf.math.is_nan(distance), distance, tf.cast(distance <= self.distance, y_pred.dtype))
        weight = None if sample_weight is None else match_rank(tf.cast(sample_weight, y_pred.dtype), 2)
        super().update_state(correct, weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "distance": self.distance}
