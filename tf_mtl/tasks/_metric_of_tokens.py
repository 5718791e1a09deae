"""Metrics of texts, computed from token ids."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank
from tf_mtl.text._pieces import TextEnds, detokenized


class MetricOfTokens(keras.metrics.Metric):
    """A metric of strings, which is given token ids.

    Args:
        metric: The metric, of references and generated texts, both strings [B].
        tokenizer: What turns token ids into texts.
        ends: The token ids around a text.
    """

    def __init__(self, metric: keras.metrics.Metric, tokenizer: Any, ends: TextEnds):
        super().__init__(name=metric.name)
        self.metric, self._tokenizer, self._ends = metric, tokenizer, ends

    @property
    def _direction(self):
        return getattr(self.metric, "_direction", None)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add token ids [B, T] and generated tokens [B, T, 2]; rows without a label have only weights of 0."""
        labels = match_rank(tf.cast(y_true, tf.int32), 2)
        counted = None
        if sample_weight is not None:
            counted = tf.broadcast_to(match_rank(sample_weight, 2) > 0, tf.shape(labels))
            sample_weight = tf.cast(tf.reduce_any(counted, 1), tf.float32)
        reference = detokenized(self._tokenizer, labels, self._ends, counted)
        generated = detokenized(self._tokenizer, tf.cast(y_pred[..., 0], tf.int32), self._ends)
        self.metric.update_state(reference, generated, sample_weight=sample_weight)

    def result(self) -> Any:
        """Return the metric's result."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Reset the metric."""
        self.metric.reset_state()

    @property
    def variables(self) -> list[Any]:
        """The metric's variables."""
        return self.metric.variables
