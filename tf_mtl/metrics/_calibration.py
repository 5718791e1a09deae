"""How well predicted probabilities agree with how often things happen."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class _Probabilities(keras.metrics.Metric):
    """Sums over rows of weights, labels, probabilities and log losses."""

    _direction = "down"  # for callbacks with mode="auto"

    def __init__(self, from_logits: bool = False, name: str | None = None, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.from_logits = bool(from_logits)
        self.total = self.add_variable((4,), "zeros", "float32", name="total")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels, predictions and weights, [B] or [B, 1]."""
        y, x = (tf.reshape(tf.cast(each, tf.float32), [-1]) for each in (y_true, y_pred))
        weight = tf.ones_like(y)
        if sample_weight is not None:
            weight = tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        if self.from_logits:
            p, loss = tf.sigmoid(x), tf.nn.sigmoid_cross_entropy_with_logits(y, x)
        else:
            p = tf.clip_by_value(x, keras.config.epsilon(), 1 - keras.config.epsilon())
            loss = -y * tf.math.log(p) - (1 - y) * tf.math.log1p(-p)
        rows = tf.where(weight[:, None] > 0, weight[:, None] * tf.stack([tf.ones_like(y), y, p, loss], 1), 0.0)
        self.total.assign_add(tf.reduce_sum(rows, 0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "from_logits": self.from_logits}


@keras.saving.register_keras_serializable("tf_mtl")
class CalibrationError(_Probabilities):
    r"""How far the mean of predicted probabilities is from how often the label is 1: $|\sum p / \sum y - 1|$.

    0.1 means 10 % more or fewer than there were. NaN without any label of 1.

    Args:
        from_logits: Whether predictions are logits rather than probabilities.
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.CalibrationError()
    >>> metric.update_state(np.array([1, 0, 0, 1]), np.array([0.7, 0.4, 0.4, 0.7]))
    >>> round(float(metric.result()), 3)
    0.1
    """

    def __init__(self, from_logits: bool = False, name: str = "calibration_error", dtype: Any = None):
        super().__init__(from_logits, name, dtype)

    def result(self) -> tf.Tensor:
        """Return the error."""
        _, labels, predicted, _ = tf.unstack(tf.convert_to_tensor(self.total))
        return tf.where(labels > 0, tf.abs(tf.math.divide_no_nan(predicted, labels) - 1), np.nan)


@keras.saving.register_keras_serializable("tf_mtl")
class NormalizedEntropy(_Probabilities):
    r"""The mean log loss over the entropy of the labels: below 1, predictions are better than the mean of the labels.

    NaN where all labels are alike.

    Args:
        from_logits: Whether predictions are logits rather than probabilities.
        name: Name of the metric.
        dtype: The dtype of the result.

    Reference: He et al., "Practical lessons from predicting clicks on ads at Facebook", ADKDD 2014.

    Example:

    >>> metric = mtl.metrics.NormalizedEntropy()
    >>> metric.update_state(np.array([1, 0, 0, 1]), np.array([0.5, 0.5, 0.5, 0.5]))
    >>> round(float(metric.result()), 3)
    1.0
    """

    def __init__(self, from_logits: bool = False, name: str = "normalized_entropy", dtype: Any = None):
        super().__init__(from_logits, name, dtype)

    def result(self) -> tf.Tensor:
        """Return the ratio."""
        weight, labels, _, loss = tf.unstack(tf.convert_to_tensor(self.total))
        mean = tf.math.divide_no_nan(labels, weight)
        entropy = -tf.math.xlogy(mean, mean) - tf.math.xlogy(1 - mean, 1 - mean)
        ratio = tf.math.divide_no_nan(tf.math.divide_no_nan(loss, weight), entropy)
        return tf.where(entropy > 0, ratio, np.nan)
