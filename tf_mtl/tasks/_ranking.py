"""Ranking of candidates."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.losses import ListLoss, ListPairwiseLogistic, ListSoftmax, ListSquaredError
from tf_mtl.metrics import RankingMetric
from tf_mtl.tasks._list_task import ListTask

_LOSSES: dict[str, type[ListLoss]] = {
    "softmax": ListSoftmax,
    "pairwise": ListPairwiseLogistic,
    "pointwise": ListSquaredError,
}
_OF_DIFFERENCES = ("softmax", "pairwise")  # a bias of all scores would get no gradient but rounding errors


@keras.saving.register_keras_serializable("tf_mtl")
class Ranking(ListTask):
    """The order of a row's N candidates: scores [B, N].

    `ListTask` describes what the head reads. Each row is a query with its candidates, and the encoder returns a vector
    per candidate that depends on the query.

    Labels are relevances of at least 0, graded or binary, [B, N]; -1 where a label is missing. Label weights are [B]
    for lists or [B, N] for candidates; a label of weight 0 is missing as well. Padded candidates never count. Loss and
    metrics are means over lists, weighted as in `tf_mtl.losses.ListLoss`. A list without a relevant candidate has a
    loss of 0, except with "pointwise".

    Metrics: `ndcg`, `mrr` and `map`, and with `k`, `ndcg@k`, `precision@k` and `recall@k`. The gain of NDCG is the
    relevance r; that of `tf_mtl.metrics.RankingMetric(keras_rs.metrics.NDCG())` is `2**r - 1`. For the other metrics,
    candidates of relevance 1 or more are relevant. The precision of a list with fewer than k candidates is the fraction
    of relevant ones among all of them.

    Decoded: `order`, the indices of the candidates by decreasing score, -1 for padded ones at the end, and `scores`,
    their scores in that order, 0 for padded ones; both [B, N].

    Args:
        name: The task's name.
        loss: "softmax" for `tf_mtl.losses.ListSoftmax`, "pairwise" for `ListPairwiseLogistic`, or "pointwise" for
            `ListSquaredError`, which makes scores estimates of the relevance.
        k: The number of first candidates that metrics with a `k` in their names count; None for no such metrics.
        **kwargs: See `ListTask` and `Task`.

    Raises:
        ValueError: for another loss, or a `k` that is not a positive integer.

    Example:

    An encoder that joins each document with the query:

    >>> inputs = {
    ...     "query": keras.Input((4,), name="query"),
    ...     "documents": keras.Input((None, 6), name="documents"),
    ...     "is_document": keras.Input((None,), dtype="bool", name="is_document"),
    ... }
    >>> query = keras.layers.Dense(8)(inputs["query"])
    >>> documents = keras.layers.Dense(8)(inputs["documents"])
    >>> joined = keras.layers.Activation("relu")(documents + keras.ops.expand_dims(query, 1))
    >>> encoder = keras.Model(inputs, {"candidates": joined, "candidates_mask": inputs["is_document"]})
    >>> model = mtl.build_model(inputs, mtl.trunks.HardSharing(encoder), [mtl.tasks.Ranking("relevance", k=5)])
    >>> model.output["relevance"].shape
    (None, None)

    >>> answer = mtl.tasks.Ranking("relevance").decode(np.array([[0.5, -1e9, 2.0]]))
    >>> answer["order"].numpy().tolist(), answer["scores"].numpy().tolist()
    ([[2, 0, -1]], [[2.0, 0.5, 0.0]])
    """

    def __init__(self, name: str, loss: str = "softmax", k: int | None = None, **kwargs: Any):
        super().__init__(name, **kwargs)
        if loss not in _LOSSES:
            raise ValueError(f"`loss` of task '{name}' must be one of {list(_LOSSES)}, received {loss!r}.")
        self._loss = loss
        self.k = integer("k", k, 1, none=True)

    @property
    def loss(self) -> ListLoss:
        """The loss of lists that `loss` names."""
        return _LOSSES[self._loss]()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return NDCG, MRR and MAP, and with `k` also NDCG, precision and recall of the first k candidates."""
        from keras_rs.metrics import NDCG, MeanAveragePrecision, MeanReciprocalRank, PrecisionAtK, RecallAtK

        gain = keras.activations.linear
        metrics = [
            RankingMetric(NDCG(gain_fn=gain), name="ndcg"),
            RankingMetric(MeanReciprocalRank(), name="mrr"),
            RankingMetric(MeanAveragePrecision(), name="map"),
        ]
        if self.k is None:
            return metrics
        return [
            *metrics,
            RankingMetric(NDCG(k=self.k, gain_fn=gain), name=f"ndcg@{self.k}"),
            RankingMetric(PrecisionAtK(k=self.k), name=f"precision@{self.k}"),
            RankingMetric(RecallAtK(k=self.k), name=f"recall@{self.k}"),
        ]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the candidates' scores [B, N, 1], without a bias where the loss does not depend on it."""
        return self.dense(1, f"{self.name}_scores", use_bias=self._loss not in _OF_DIFFERENCES)(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `order` and `scores`, both [B, N]."""
        output = tf.cast(output, tf.float32)
        order = tf.argsort(output, direction="DESCENDING", stable=True)
        scores = tf.gather(output, order, batch_dims=1)
        valid = self.valid_mask(scores)
        return {"order": tf.where(valid, order, -1), "scores": tf.where(valid, scores, 0.0)}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's softmax over the candidates, one value per list.

        It is the loss of ListNet (Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML
        2007).
        """
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "loss": self._loss, "k": self.k}
