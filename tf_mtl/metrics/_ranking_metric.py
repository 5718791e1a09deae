"""The ranking metrics of keras-rs, averaged over lists."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.layers._lists import Lists, weight_per_list


@keras.saving.register_keras_serializable("tf_mtl")
class RankingMetric(keras.metrics.Mean):
    """The mean over lists of a ranking metric of keras-rs, such as `keras_rs.metrics.NDCG`.

    Candidates without a label never count: those with the relevance -1, those of weight 0, and padded ones, whose
    score is -1e9. A list counts by the mean weight of its labelled candidates. A list without a labelled candidate does
    not count, and one without a relevant candidate counts with the value 0. In metrics of binary relevance, candidates
    of relevance 1 or more are relevant.

    The mean of keras-rs differs in two ways. It gives a list without a relevant candidate the mean weight of the other
    lists in the batch, so the result depends on the division into batches. And it puts candidates of the same score in
    random order; here the least relevant comes first, so equal scores never raise the metric.

    Args:
        metric: A metric of `keras_rs.metrics` with a value per list.
        name: Name of the metric; by default the given metric's.
        dtype: The dtype of the result.

    Example:

    >>> import keras_rs
    >>> metric = mtl.metrics.RankingMetric(keras_rs.metrics.RecallAtK(k=1), name="recall@1")
    >>> metric.update_state(np.array([[0, 1, 0], [0, 1, 1]]), np.array([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]]))
    >>> float(metric.result())
    0.75
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, metric: Any, name: str | None = None, dtype: Any = None):
        super().__init__(name=name or metric.name, dtype=dtype)
        self._list_values = metric.compute_metric  # the metric in an attribute would add its unused variables
        self._metric_config = keras.saving.serialize_keras_object(metric)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add relevances and scores, both [B, N]; weights are [B] or [B, N]."""
        lists = Lists.of(y_true, tf.cast(y_pred, tf.float32), sample_weight)
        values, _ = self._list_values(lists.relevance, -_ranks(lists), lists.labelled, lists.weight)
        super().update_state(tf.squeeze(values, 1), weight_per_list(lists.weight))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "metric": self._metric_config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "RankingMetric":
        import keras_rs  # noqa: F401  # registers the metric

        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def _ranks(lists: Lists) -> tf.Tensor:
    """The ranks of candidates by decreasing score, [B, N]; of those with the same score the least relevant is first.

    Those without a label are last.
    """
    scores = tf.where(lists.labelled, lists.scores, -np.inf)
    by_relevance = tf.argsort(lists.relevance, stable=True)
    by_score = tf.argsort(tf.gather(scores, by_relevance, batch_dims=1), direction="DESCENDING", stable=True)
    order = tf.gather(by_relevance, by_score, batch_dims=1)
    return tf.cast(tf.argsort(order), tf.float32)
