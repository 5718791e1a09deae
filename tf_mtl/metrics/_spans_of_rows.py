"""Metrics of one span per row."""

from abc import abstractmethod
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


class _SpanOfRowMetric(keras.metrics.Mean):
    """The mean of a value for each row's true and predicted span."""

    _direction = "up"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add spans [B, 2], (first word, last word), counted from 1 and (0, 0) for none; weights are [B]."""
        values = self.value_of(tf.cast(y_true, tf.int32), tf.cast(y_pred, tf.int32))
        weight = None if sample_weight is None else match_rank(tf.convert_to_tensor(sample_weight), 1)
        super().update_state(values, weight)

    @abstractmethod
    def value_of(self, true: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        """Return the value of each row, [B]."""

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}


@keras.saving.register_keras_serializable("tf_mtl")
class SpanExactMatch(_SpanOfRowMetric):
    """The fraction of rows whose predicted span is the true one; see `tf_mtl.tasks.SpanExtraction`.

    Args:
        name: Name of the metric.
        dtype: See `keras.metrics.Metric`.

    Example:

    >>> metric = mtl.metrics.SpanExactMatch()
    >>> metric.update_state(np.array([[1, 2], [3, 3]]), np.array([[1, 2], [3, 4]]))
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "exact_match", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def value_of(self, true: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        """Return 1 where the spans are equal."""
        return tf.cast(tf.reduce_all(true == predicted, -1), tf.float32)


@keras.saving.register_keras_serializable("tf_mtl")
class SpanOverlapF1(_SpanOfRowMetric):
    r"""The mean over rows of F1 over the words of the predicted and the true span; see `tf_mtl.tasks.SpanExtraction`.

    $$\frac{2 |A \cap B|}{|A| + |B|}$$

    for the words A and B of both; 1 if both are empty. SQuAD's F1 compares the words' texts instead of their positions,
    and the best of several answers: see `tf_mtl.metrics.squad_scores`.

    Args:
        name: Name of the metric.
        dtype: See `keras.metrics.Metric`.

    Example:

    >>> metric = mtl.metrics.SpanOverlapF1()
    >>> metric.update_state(np.array([[1, 2]]), np.array([[2, 2]]))
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(self, name: str = "f1", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def value_of(self, true: tf.Tensor, predicted: tf.Tensor) -> tf.Tensor:
        """Return F1 of each row."""
        sizes = tf.cast(_words(true) + _words(predicted), tf.float32)
        first, last = tf.maximum(true[:, 0], predicted[:, 0]), tf.minimum(true[:, 1], predicted[:, 1])
        common = _words(tf.stack([first, last], 1))
        return tf.where(sizes == 0, 1.0, tf.math.divide_no_nan(2 * tf.cast(common, tf.float32), sizes))


def _words(spans):
    return tf.where(spans[:, 0] > 0, tf.maximum(spans[:, 1] - spans[:, 0] + 1, 0), 0)
