"""Cross-entropy of each query's document among the documents of the batch."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.losses._batch_loss import BatchLoss


@keras.saving.register_keras_serializable("tf_mtl")
class InBatchSoftmax(BatchLoss):
    r"""Cross-entropy of each query's own document among the documents of all rows (in-batch negatives, InfoNCE).

    $$l_b = -\log \frac{e^{s_{bb}}}{e^{s_{bb}} + \sum_{n \in N_b} e^{s_{bn}}}, \qquad s_{bn} = q_b \cdot d_n / \tau$$

    The output is [B, 2D]: a query vector and then a document vector, as `tf_mtl.tasks.Matching` returns them. The
    negatives $N_b$ are the documents of all labelled rows of the global batch that are not known to be the same
    document.

    The labels [B] or [B, 1] are integers that identify documents: rows with the same label are never each other's
    negatives. Without known duplicates, pass a different integer in each row, or one constant: where all labelled rows
    of a batch have the same label, it identifies nothing, and all other rows are negatives. A row of weight 0 is
    neither a positive nor a negative.

    Args:
        temperature: $\tau$, by which scores are divided.
        symmetric: Whether to average this loss and that of each document's query among the queries.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `temperature` is not positive.

    References: van den Oord, Li & Vinyals, "Representation learning with contrastive predictive coding", 2018; Radford
    et al., "Learning transferable visual models from natural language supervision", ICML 2021 (symmetric).

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
        reduction: str = "sum_over_batch_size",
        name: str = "in_batch_softmax",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)
        self.symmetric = bool(symmetric)

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per row, [B].

        Args:
            y_true: Which document each row has, [B] or [B, 1]; None if no document occurs twice.
            y_pred: Query and document vectors, [B, 2D].
            weight: The label weights [B]; None where every row is labelled.
        """
        y_pred = tf.cast(y_pred, tf.float32)
        labelled = tf.ones(tf.shape(y_pred)[:1], tf.bool) if weight is None else tf.convert_to_tensor(weight) > 0
        # A NaN in a row without a label would reach the gradients of the others, as 0 * NaN.
        queries, documents = tf.split(tf.where(labelled[:, None], y_pred, 0.0), 2, -1)
        scores = tf.matmul(queries, documents, transpose_b=True) / self.temperature
        counted = (labelled & ~_same_document(y_true, labelled)) | tf.eye(tf.shape(scores)[0], dtype=tf.bool)
        losses = _cross_entropy(scores, counted)
        if self.symmetric:
            losses = (losses + _cross_entropy(tf.transpose(scores), counted)) / 2
        return losses

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature, "symmetric": self.symmetric}


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
