"""Accuracy of binary logits."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class LogitsBinaryAccuracy(keras.metrics.BinaryAccuracy):
    """`keras.metrics.BinaryAccuracy` for logits instead of probabilities.

    Args:
        name: Name of the metric.
        dtype: Of the result.
        threshold: Probability from which on the answer is "yes".

    Example:

    >>> metric = mtl.metrics.LogitsBinaryAccuracy()
    >>> metric.update_state(np.array([[1.0], [0.0]]), np.array([[2.0], [3.0]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "accuracy", dtype=None, threshold: float = 0.5):
        super().__init__(name=name, dtype=dtype)
        self.cutoff = threshold

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count the rows of labels [B, 1] and logits [B, 1]."""
        predicted = tf.cast(tf.sigmoid(tf.cast(y_pred, tf.float32)) >= self.cutoff, tf.float32)
        return super().update_state(y_true, predicted, sample_weight)

    def get_config(self):
        return {**super().get_config(), "threshold": self.cutoff}
