"""Cross-entropy of each query's document among the documents of the batch."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl.losses._batch_loss import BatchLoss


@keras.saving.register_keras_serializable("tf_mtl")
class InBatchSoftmax(BatchLoss):
    r"""Cross-entropy of each query's own document among the documents of all rows (in-batch negatives, InfoNCE).

    $$l_b = -\log \frac{e^{s_{bb}}}{e^{s_{bb}} + \sum_{n \in N_b} e^{s_{bn}}}, \qquad s_{bn} = q_b \cdot d_n / \tau$$

    The output is [B, 2D]: a query vector and then a document vector, as `tf_mtl.tasks.Matching` returns them. The
    negatives $N_b$ are the documents of all labelled rows of the global batch that are not known to be the same
    document. With K hard negatives, the output is [B, (2 + K)D], and the last K vectors of all labelled rows are
    negatives of every query, too.

    Documents that occur often are often negatives. With their `probabilities` $Q$, the scores become
    $s_{bn} - \log Q_n$ (the logQ correction), which makes up for that.

    The labels [B] or [B, 1] are integers that identify documents: rows with the same label are never each other's
    negatives. Without known duplicates, pass a different integer in each row, or one constant: where all labelled rows
    of a batch have the same label, it identifies nothing, and all other rows are negatives. A row of weight 0 is
    neither a positive nor a negative.

    Args:
        temperature: $\tau$, by which scores are divided.
        symmetric: Whether to average this loss and that of each document's query among the queries, which has neither
            hard negatives nor a correction.
        hard_negatives: K, the number of hard negatives of each row.
        probabilities: How probable each document is in a row, by its label, which then is an index of this list, such
            as its share of the training rows; None for no correction. They need not sum to 1.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `temperature` or a probability is not positive.

    References: van den Oord, Li & Vinyals, "Representation learning with contrastive predictive coding", 2018; Radford
    et al., "Learning transferable visual models from natural language supervision", ICML 2021 (symmetric);
    Karpukhin et al., "Dense passage retrieval for open-domain question answering", EMNLP 2020 (hard negatives); Yi et
    al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019 (logQ).

    Example:

    The first two rows have the same document, so each has one negative, the third row's; and the third has two:

    >>> loss = mtl.losses.InBatchSoftmax(temperature=1.0)
    >>> vectors = np.array([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])
    >>> loss.call(np.array([7, 7, 9]), vectors).numpy().round(4)
    array([0.3133, 0.3133, 0.5514], dtype=float32)
    """

    def __init__(
        self,
        temperature: float = 0.05,
        symmetric: bool = False,
        hard_negatives: int = 0,
        probabilities: Sequence[float] | None = None,
        *,
        reduction: str = "sum_over_batch_size",
        name: str = "in_batch_softmax",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.symmetric = bool(symmetric)
        self.hard_negatives = integer("hard_negatives", hard_negatives, 0)
        self.probabilities = checked_probabilities(probabilities)

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per row, [B].

        Args:
            y_true: Which document each row has, [B] or [B, 1]; None if no document occurs twice, without a correction.
            y_pred: Query, document and hard negatives' vectors, [B, (2 + K)D].
            weight: The label weights [B]; None where every row is labelled.
        """
        y_pred = tf.cast(y_pred, tf.float32)
        labelled = tf.ones(tf.shape(y_pred)[:1], tf.bool) if weight is None else tf.convert_to_tensor(weight) > 0
        # A NaN in a row without a label would reach the gradients of the others, as 0 * NaN.
        vectors = tf.where(labelled[:, None], y_pred, 0.0)
        queries, documents, *hard_negatives = tf.split(vectors, 2 + self.hard_negatives, -1)
        scores = tf.matmul(queries, documents, transpose_b=True) / self.temperature
        counted = (labelled & ~_same_document(y_true, labelled)) | tf.eye(tf.shape(scores)[0], dtype=tf.bool)
        columns, counted_columns = [self._corrected(scores, y_true)], [counted]
        for negatives in hard_negatives:
            columns.append(tf.matmul(queries, negatives, transpose_b=True) / self.temperature)
            counted_columns.append(tf.broadcast_to(labelled, tf.shape(scores)))
        losses = _cross_entropy(tf.concat(columns, 1), tf.concat(counted_columns, 1))
        if self.symmetric:
            losses = (losses + _cross_entropy(tf.transpose(scores), counted)) / 2
        return losses

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "symmetric": self.symmetric,
            "hard_negatives": self.hard_negatives,
            "probabilities": self.probabilities,
        }

    def _corrected(self, scores, labels):
        """The scores without the logarithms of the documents' probabilities."""
        if self.probabilities is None or labels is None:
            return scores
        indices = tf.clip_by_value(tf.cast(tf.reshape(labels, [-1]), tf.int32), 0, len(self.probabilities) - 1)
        return scores - tf.math.log(tf.gather(tf.constant(self.probabilities), indices))


def checked_probabilities(probabilities: Sequence[float] | None) -> list[float] | None:
    """Return probabilities as numbers.

    Raises:
        ValueError: for one that is not positive, or none.
    """
    if probabilities is None:
        return None
    if not len(probabilities):
        raise ValueError("`probabilities` must hold one for each document, received none. Pass None for no correction.")
    return [in_range("probabilities", float(p), 0, open_low=True) for p in probabilities]


def _same_document(labels, labelled):
    """Which pairs of rows are known to have the same document, [B, B]."""
    if labels is None:
        return tf.zeros([1, 1], tf.bool)
    labels = tf.reshape(labels, [-1])
    same = labels[:, None] == labels
    return same & tf.reduce_any(~same & labelled[:, None] & labelled)


def _cross_entropy(scores, counted):
    """The cross-entropy of the diagonal among the scores of each row that count."""
    relative = scores - tf.linalg.diag_part(scores)[:, None]  # first, so that small losses are exact
    return tf.reduce_logsumexp(tf.where(counted, relative, -float("inf")), -1)
