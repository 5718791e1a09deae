"""Agreement of ordered levels beyond chance."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class QuadraticWeightedKappa(keras.metrics.Metric):
    r"""Cohen's kappa of levels, in which disagreements count by the square of their distance.

    $$\kappa = 1 - \frac{\sum_{ij} (i-j)^2 O_{ij}}{\sum_{ij} (i-j)^2 E_{ij}}$$

    with the counts $O$ of each pair of a level and a predicted one, and the counts $E$ that chance would give. It is 1
    for perfect agreement and 0 for chance; 0 where all levels and predictions are the same one. The state is the matrix
    of counts, so that batches and replicas add up exactly.

    Args:
        levels: The number K of levels.
        name: Name of the metric.
        dtype: The dtype of the result.

    Raises:
        ValueError: for fewer than two levels.

    Reference: Cohen, "Weighted kappa", Psychological Bulletin 1968.

    Example:

    >>> metric = mtl.metrics.QuadraticWeightedKappa(3)
    >>> metric.update_state(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 1]))
    >>> round(float(metric.result()), 2)
    0.8
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, levels: int, name: str = "kappa", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.levels = integer("levels", levels, 2)
        self.counts = self.add_variable((levels, levels), "zeros", dtype="float64", name="counts")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add levels and predicted ones, both [...] or [..., 1] and from 0 to K - 1; weights are [...]."""
        y_true, y_pred = (tf.reshape(tf.cast(y, tf.int64), [-1]) for y in (y_true, y_pred))
        weight = tf.ones_like(y_true, tf.float64)
        if sample_weight is not None:
            weight *= tf.reshape(match_rank(tf.cast(sample_weight, tf.float64), 1), [-1])
        index = tf.clip_by_value(y_true, 0, self.levels - 1) * self.levels + y_pred
        counts = tf.math.unsorted_segment_sum(weight, index, self.levels**2)
        self.counts.assign_add(tf.reshape(counts, [self.levels, self.levels]))

    def result(self) -> tf.Tensor:
        """Return the agreement over all rows added so far."""
        counts = tf.convert_to_tensor(self.counts)
        places = tf.range(self.levels, dtype=tf.float64)
        distances = tf.square(places[:, None] - places)
        by_chance = tf.reduce_sum(counts, 1, keepdims=True) * tf.reduce_sum(counts, 0)
        observed = tf.reduce_sum(distances * counts) * tf.reduce_sum(counts)
        expected = tf.reduce_sum(distances * by_chance)
        kappa = tf.where(expected > 0, 1 - tf.math.divide_no_nan(observed, expected), 0.0)
        return tf.cast(kappa, self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "levels": self.levels}
