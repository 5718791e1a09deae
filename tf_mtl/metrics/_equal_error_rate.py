"""The equal error rate of verification."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._gathered import free_slots, gathered, on_first_replica


@keras.saving.register_keras_serializable("tf_mtl")
class EqualErrorRate(keras.metrics.Metric):
    """How well scores tell pairs of the same from pairs of different things: `eer` and `min_dcf`.

    A pair is accepted if its score is at least a threshold. The equal error rate is where the fraction of "same" pairs
    that are rejected equals that of "different" pairs that are accepted, interpolated between the two thresholds around
    it. The detection cost is `p * rejected + (1 - p) * accepted`, divided by the smaller of p and 1 - p, and `min_dcf`
    is its minimum over all thresholds, as in NIST's evaluations. Both are 0 unless there are pairs of both kinds.

    Labels are 1 for the same and 0 for different. Pairs of weight 0 do not count; other weights count as 1. The metric
    is exact over batches and replicas. It keeps `limit` pairs. With more, results are NaN. Steps that update it cannot
    be compiled with XLA.

    Args:
        prior: The probability p of "same" in `min_dcf`; 0.05 as in NIST's evaluation of 2018.
        limit: The largest number of pairs. Each takes 8 bytes.
        name: Name of the metric.
        dtype: The dtype of the results.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> metric = mtl.metrics.EqualErrorRate()
    >>> metric.update_state(np.array([1, 1, 0, 0]), np.array([0.9, 0.4, 0.6, 0.1]))
    >>> float(metric.result()["eer"])
    0.5
    """

    _direction = "down"  # for callbacks with mode="auto"

    def __init__(self, prior: float = 0.05, limit: int = 200_000, name: str = "equal_error_rate", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.prior = float(in_range("prior", prior, 0, 1, open_low=True, open_high=True))
        self.limit = integer("limit", limit, 1)
        self.scores = self.add_variable((self.limit,), "zeros", "float32", name="scores")
        self.same = self.add_variable((self.limit,), "zeros", "int32", name="same")
        self.stored = self.add_variable((), "zeros", "int32", name="stored")

    @property
    def result_names(self) -> list[str]:
        """The names of the results, in their order."""
        return ["eer", "min_dcf"]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels, scores and weights, all [B] or [B, 1]."""
        scores = gathered(tf.reshape(tf.cast(y_pred, tf.float32), [-1]))
        same = gathered(tf.reshape(tf.cast(y_true, tf.int32), [-1]))
        counted = tf.ones_like(scores, tf.bool)
        if sample_weight is not None:
            counted = gathered(tf.reshape(tf.cast(sample_weight, tf.float32), [-1])) > 0
        counted = on_first_replica(counted)
        slots = free_slots(counted, self.stored, self.limit)
        self.scores.assign_add(tf.math.unsorted_segment_sum(scores, slots, self.limit))
        self.same.assign_add(tf.math.unsorted_segment_sum(same, slots, self.limit))
        self.stored.assign_add(tf.reduce_sum(tf.cast(counted, tf.int32)))

    def result(self) -> dict[str, tf.Tensor]:
        """Return a dict of `eer` and `min_dcf`."""
        number = tf.minimum(tf.convert_to_tensor(self.stored), self.limit)
        scores = tf.convert_to_tensor(self.scores)[:number]
        order = tf.argsort(scores, direction="DESCENDING", stable=True)
        scores = tf.gather(scores, order)
        same = tf.cast(tf.gather(tf.convert_to_tensor(self.same)[:number], order), tf.float64)
        counts = tf.stack([tf.reduce_sum(same), tf.reduce_sum(1 - same)])
        accepted = tf.cumsum(tf.stack([same, 1 - same]), 1) / tf.maximum(counts, 1)[:, None]
        is_threshold = tf.concat([scores[1:] != scores[:-1], tf.ones([tf.minimum(number, 1)], tf.bool)], 0)
        accepted = tf.pad(tf.boolean_mask(accepted, is_threshold, axis=1), [[0, 0], [1, 0]])
        rejected, false = 1 - accepted[0], accepted[1]
        difference = rejected - false
        after = tf.reduce_sum(tf.cast(difference > 0, tf.int32))
        before = tf.maximum(after - 1, 0)
        after = tf.minimum(after, tf.shape(difference)[0] - 1)
        part = tf.math.divide_no_nan(difference[before], difference[before] - difference[after])
        eer = rejected[before] + part * (rejected[after] - rejected[before])
        cost = self.prior * rejected + (1 - self.prior) * false
        dcf = tf.reduce_min(cost) / min(self.prior, 1 - self.prior)
        has_both, fits = tf.reduce_all(counts > 0), self.stored <= self.limit
        is_valid = tf.reduce_all(tf.math.is_finite(scores)) & fits
        values = [tf.where(is_valid, tf.where(has_both, value, 0.0), np.nan) for value in (eer, dcf)]
        return dict(zip(self.result_names, [tf.cast(value, self.dtype) for value in values], strict=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "prior": self.prior, "limit": self.limit}
