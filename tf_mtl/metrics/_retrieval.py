"""Where each query's document ranks among all documents of a data set."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._gathered import free_slots, gathered, on_first_replica

_TIE = 1e-6


@keras.saving.register_keras_serializable("tf_mtl")
class Retrieval(keras.metrics.Metric):
    """Recall@k and mean reciprocal rank (MRR) of each query's document among the documents of all rows seen.

    A document's score is its dot product with the query. Recall@k is the fraction of queries whose own document is
    among the k best, and MRR the mean of 1 / rank. Documents that score within 1e-6 of a query's own rank before it.

    The labels identify documents, as those of `tf_mtl.losses.InBatchSoftmax` do: another row with the query's own
    document does not rank before it, and any other document ranks once, with its first row's vector. Where all labels
    are the same, they identify nothing, and each row is another document.

    The metric is exact over batches and replicas. It keeps the vectors of `limit` rows, and ranks the first `limit`
    labelled rows among themselves: later rows do not count. A batch costs `2 * B * limit * dim` multiplications.

    Args:
        dim: Size of each vector.
        top: The values of k.
        limit: The largest number of rows; the state consists of `(2 * dim + 5) * limit` numbers.
        name: Name of the metric; the results are named `recall@<k>` and `mrr`.
        dtype: The dtype of the results.

    Raises:
        ValueError: if `dim`, `limit` or a value of k is not an integer of at least 1.

    Example:

    >>> metric = mtl.metrics.Retrieval(dim=2, top=[1, 2])
    >>> queries, documents = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> metric.update_state(np.array([0, 1]), np.concatenate([queries, documents], 1))
    >>> {name: float(value) for name, value in metric.result().items()}
    {'recall@1': 1.0, 'recall@2': 1.0, 'mrr': 1.0}
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(
        self,
        dim: int,
        top: Sequence[int] = (1, 10),
        limit: int = 4096,
        name: str = "retrieval",
        dtype: Any = None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.dim, self.limit = integer("dim", dim, 1), integer("limit", limit, 1)
        self.top = [integer("top", k, 1) for k in top]
        self.vectors = self.add_variable((self.limit, 2 * self.dim), "zeros", "float32", name="vectors")
        self.ids = self.add_variable((self.limit,), "zeros", "int64", name="ids")
        # By row: its weight, 0 where no row is stored; whether its document is new; how many documents rank before its
        # own if rows with the same label have the same document, and if all rows have different documents.
        self.rows = self.add_variable((4, self.limit), "zeros", "float32", name="rows")

    @property
    def result_names(self) -> list[str]:
        """The names of the results, in their order."""
        return [*(f"recall@{k}" for k in self.top), "mrr"]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B] or [B, 1], query and document vectors [B, 2 dim], and weights [B] or [B, 1]."""
        vectors = gathered(tf.cast(y_pred, tf.float32))
        ids = gathered(tf.cast(tf.reshape(y_true, [-1]), tf.int64))
        weights = tf.ones(tf.shape(ids))
        if sample_weight is not None:
            weights = gathered(tf.cast(tf.reshape(sample_weight, [-1]), tf.float32))
        counted = on_first_replica(weights > 0)
        weights = tf.where(counted, weights, 0.0)
        stored = self.rows[0] > 0
        slots = free_slots(counted, tf.reduce_sum(tf.cast(stored, tf.int32)), self.limit)
        added = slots >= 0
        is_new = added & ~tf.reduce_any(_same(ids, self.ids) & stored, 1)
        is_new &= ~tf.reduce_any(tf.linalg.band_part(_same(ids, ids), -1, 0) & ~_diagonal(ids) & added, 1)

        self.vectors.assign_add(self._in_slots(vectors, slots))
        self.ids.assign_add(self._in_slots(ids, slots))
        is_document = stored | (self._in_slots(tf.cast(added, tf.float32), slots) > 0)
        is_new_document = (self.rows[1] + self._in_slots(tf.cast(is_new, tf.float32), slots)) > 0

        queries, documents = tf.split(tf.convert_to_tensor(self.vectors), 2, 1)
        added_queries, added_documents = tf.split(vectors, 2, 1)
        # Of the added documents, those that rank before the own documents of stored queries, [limit, B].
        before = _ranks_before(queries, documents, added_documents)
        of_stored = tf.stack([before & is_new & ~_same(self.ids, ids), before & added]) & stored[:, None]
        # Of all documents, those that rank before the own documents of added queries, [B, limit].
        before = _ranks_before(added_queries, added_documents, documents)
        own = slots[:, None] == tf.range(self.limit)
        of_added = tf.stack([before & is_new_document & ~_same(ids, self.ids), before & is_document & ~own])
        of_stored, of_added = (tf.reduce_sum(tf.cast(counts, tf.float32), 2) for counts in (of_stored, of_added))
        of_added = tf.transpose(self._in_slots(tf.transpose(of_added), slots))
        weight_and_new = self._in_slots(tf.stack([weights, tf.cast(is_new, tf.float32)], 1), slots)
        self.rows.assign_add(tf.concat([tf.transpose(weight_and_new), of_stored + of_added], 0))

    def _in_slots(self, values, slots):
        return tf.math.unsorted_segment_sum(values, slots, self.limit)

    def result(self) -> dict[str, tf.Tensor]:
        """Return a dict of recall@k for each k, and MRR."""
        weights, _, *before = tf.unstack(tf.convert_to_tensor(self.rows))
        is_identified = tf.reduce_any((tf.convert_to_tensor(self.ids) != self.ids[0]) & (weights > 0))
        ranks = 1 + tf.where(is_identified, *before)
        values = [*(tf.cast(ranks <= k, tf.float32) for k in self.top), 1 / ranks]
        means = [tf.math.divide_no_nan(tf.reduce_sum(weights * x), tf.reduce_sum(weights)) for x in values]
        return {name: tf.cast(mean, self.dtype) for name, mean in zip(self.result_names, means, strict=True)}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dim": self.dim, "top": self.top, "limit": self.limit}


def _same(rows, columns):
    return tf.convert_to_tensor(rows)[:, None] == tf.convert_to_tensor(columns)


def _diagonal(rows):
    return tf.eye(tf.shape(rows)[0], dtype=tf.bool)


def _ranks_before(queries, own, documents):
    """Which documents rank before each query's own; NaN does."""
    own_scores = tf.reduce_sum(queries * own, 1, keepdims=True)
    differences = tf.matmul(queries, documents, transpose_b=True) - own_scores
    return (differences >= -_TIE) | tf.math.is_nan(differences)
