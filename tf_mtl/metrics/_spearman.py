"""Spearman rank correlation over a data set."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class Spearman(keras.metrics.Metric):
    """Spearman's rank correlation of labels and predictions over all rows seen, with mean ranks for ties.

    Since a rank depends on all other rows, values are counted in `bins` equal bins between `low` and `high` (values
    outside fall into the first or last bin), and the metric is the correlation of the bins' mean ranks. It is exact for
    values on the grid of the bins, and differs by about `1 / bins**2` for others. Batches and replicas add up exactly.

    Args:
        low: Lower end of the range of values.
        high: Upper end of the range of values.
        bins: Number of bins per axis; the state consists of `bins**2` float32 counts.
        name: Name of the metric.
        dtype: The dtype of the result.

    Raises:
        ValueError: if `low` is not below `high`, or `bins` is not an integer of at least 1.

    Example:

    >>> metric = mtl.metrics.Spearman(low=0, high=10)
    >>> metric.update_state(np.array([1.0, 2.0, 3.0]), np.array([[2.0], [4.0], [3.0]]))
    >>> round(float(metric.result()), 4)
    0.5
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, low: float, high: float, bins: int = 256, name: str = "spearman", dtype: Any = None):
        if not low < high:
            raise ValueError(f"`low` must be below `high`, received low={low}, high={high}.")
        super().__init__(name=name, dtype=dtype)
        self.low, self.high, self.bins = low, high, integer("bins", bins, 1)
        self.counts = self.add_variable((self.bins, self.bins), "zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B] or [B, D] and predictions [B, D]; weights are [B] or [B, D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        weight = tf.ones_like(y_pred, tf.float32)
        if sample_weight is not None:
            weight *= match_rank(tf.cast(sample_weight, tf.float32), len(y_pred.shape))
        cells = self._bin(y_true) * self.bins + self._bin(y_pred)
        counts = tf.math.unsorted_segment_sum(tf.reshape(weight, [-1]), cells, self.bins**2)
        self.counts.assign_add(tf.reshape(counts, [self.bins, self.bins]))

    def _bin(self, values):
        scaled = (tf.reshape(tf.cast(values, tf.float32), [-1]) - self.low) / (self.high - self.low)
        return tf.cast(tf.clip_by_value(tf.floor(scaled * self.bins), 0, self.bins - 1), tf.int32)

    def result(self) -> tf.Tensor:
        """Return the correlation of the mean ranks of all pairs added so far."""
        counts = tf.cast(self.counts, tf.float64)
        rows, columns = tf.reduce_sum(counts, 1), tf.reduce_sum(counts, 0)
        total = tf.reduce_sum(rows)
        row_ranks, column_ranks = (tf.cumsum(marginal) - marginal / 2 - total / 2 for marginal in (rows, columns))
        covariance = tf.tensordot(row_ranks, tf.linalg.matvec(counts, column_ranks), 1)
        variances = tf.reduce_sum(rows * row_ranks**2) * tf.reduce_sum(columns * column_ranks**2)
        return tf.cast(tf.math.divide_no_nan(covariance, tf.sqrt(variances)), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high, "bins": self.bins}
