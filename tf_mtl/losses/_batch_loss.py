"""The base of losses that compare the rows of a batch."""

from typing import Any

import keras


class BatchLoss(keras.losses.Loss):
    """A loss that compares the rows of a batch, such as one with in-batch negatives.

    In `MultiTaskModel`, `call` is given the rows of the global batch and their label weights, on every replica, so the
    loss and its gradient are those of one device. Subclasses implement `call(y_true, y_pred, weight=None)`. It returns
    one value per row, [B]. Rows of weight 0 have no label: they must count neither as positives nor as negatives. Their
    own values are left out. With `compile(accumulate=n)` the micro-batches need one more forward pass, which gives each
    the outputs of the others.

    Any other loss that compares rows is refused where a batch is divided, and with label weights.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Example:

    Each row's query [B, D] is to find its own document among those of all labelled rows:

    >>> class InBatchSoftmax(mtl.losses.BatchLoss):
    ...     def call(self, y_true, y_pred, weight=None):
    ...         queries, documents = tf.split(y_pred, 2, axis=-1)
    ...         scores = tf.matmul(queries, documents, transpose_b=True)
    ...         if weight is not None:
    ...             scores = tf.where(weight > 0, scores, -1e9)
    ...         return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.range(tf.shape(scores)[0]), scores)
    >>> rows = np.array([[1.0, 1.0], [0.0, 5.0], [0.0, 1.0]], "float32")
    >>> InBatchSoftmax().call(None, rows, np.array([1.0, 0.0, 1.0])).numpy()[[0, 2]].round(4)
    array([0.6931, 0.6931], dtype=float32)
    """

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> Any:
        """Return one value per row, [B].

        Args:
            y_true: The labels, [B, ...]; integers stay integers, others are float32.
            y_pred: The task's output, [B, ...].
            weight: The label weights [B]; None where every row is labelled.
        """
        raise NotImplementedError
