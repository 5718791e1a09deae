"""Accuracy of binary logits."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class LogitsBinaryAccuracy(keras.metrics.BinaryAccuracy):
    """`keras.metrics.BinaryAccuracy` for logits instead of probabilities.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.
        threshold: The smallest probability for which 1 is predicted.

    Example:

    >>> metric = mtl.metrics.LogitsBinaryAccuracy()
    >>> metric.update_state(np.array([[1.0], [0.0]]), np.array([[2.0], [3.0]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "accuracy", dtype: Any = None, threshold: float = 0.5):
        super().__init__(name=name, dtype=dtype)
        self.cutoff = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B, 1] and logits [B, 1]; weights are [B] or [B, 1]."""
        predicted = tf.cast(tf.sigmoid(tf.cast(y_pred, tf.float32)) >= self.cutoff, tf.float32)
        super().update_state(y_true, predicted, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.cutoff}
