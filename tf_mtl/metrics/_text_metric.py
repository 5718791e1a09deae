"""What metrics of generated texts share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def ngrams(units: Sequence[str], n: int) -> Counter:
    """Return how often each n-gram occurs among the words of a list, or the characters of a string."""
    return Counter(units[i : i + n] for i in range(len(units) - n + 1))


class TextMetric(keras.metrics.Metric):
    """Adds up numbers of each text, in float64, so that batches and replicas give the same as all texts at once."""

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, num_sums: int, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.sums = self.add_variable((num_sums,), "zeros", "float64", name="sums")

    @staticmethod
    def _counts(reference: str, hypothesis: str) -> Sequence[float]:
        """Return what a text adds to `sums`."""
        raise NotImplementedError

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add reference and generated texts, strings [B] or [B, 1], and weights [B] or [B, 1].

        Raises:
            ValueError: if texts are not strings, or the numbers of rows differ.
        """
        references, hypotheses = self._column("y_true", y_true), self._column("y_pred", y_pred)
        weights = (
            tf.ones(tf.shape(references)) if sample_weight is None else self._column("sample_weight", sample_weight)
        )
        for name, column in (("y_pred", hypotheses), ("sample_weight", weights)):
            if not column.shape.is_compatible_with(references.shape):
                raise ValueError(
                    f"`{name}` of {type(self).__name__} must have as many rows as `y_true`, {references.shape[0]}, "
                    f"received {column.shape[0]}."
                )
        sums = tf.numpy_function(self._sums_of_batch, [references, hypotheses, weights > 0], tf.float64)
        self.sums.assign_add(tf.ensure_shape(sums, self.sums.shape))

    def _column(self, name, values):
        values = tf.convert_to_tensor(values)
        if (values.dtype == tf.string) != (name != "sample_weight"):
            raise ValueError(f"`{name}` of {type(self).__name__} must be strings, received {values.dtype.name}.")
        return tf.reshape(values, [-1])

    def _sums_of_batch(self, references, hypotheses, counted):
        sums = np.zeros(self.sums.shape)
        for reference, hypothesis, counts in zip(references, hypotheses, counted, strict=True):
            if counts:
                sums += self._counts(*(text.decode(errors="replace") for text in (reference, hypothesis)))
        return sums
