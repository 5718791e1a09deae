"""The base of losses of lists of candidates."""

from typing import Any

import tensorflow as tf

from tf_mtl.layers._lists import Lists, weight_per_list
from tf_mtl.losses._parts_loss import PartsLoss


class ListLoss(PartsLoss):
    """A loss with one value per list, [B], from the relevances and scores of its candidates, both [B, N].

    Subclasses implement `list_losses`. Candidates without a label never count: those with the relevance -1, those of
    weight 0, and padded ones, whose score is -1e9. A list without a labelled candidate has the value 0.

    In `MultiTaskModel`, label weights are [B] or [B, N]. A list counts by the mean weight of its labelled candidates,
    so the task's loss is the mean over lists, not over candidates. Within a list, candidates count by their weights.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Example:

    >>> class Margin(mtl.losses.ListLoss):
    ...     def list_losses(self, relevance, scores, weight):
    ...         best = tf.reduce_max(tf.where((relevance > 0) & (weight > 0), scores, -1e9), 1)
    ...         rival = tf.reduce_max(tf.where((relevance == 0) & (weight > 0), scores, -1e9), 1)
    ...         return tf.nn.relu(1 + rival - best)
    >>> Margin().call(np.array([[1.0, 0.0, -1.0]]), np.array([[2.0, 1.5, 9.0]], "float32")).numpy().tolist()
    [0.5]
    """

    ignore_class = -1  # a label like one of weight 0, as in keras-rs

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per list, [B].

        Args:
            y_true: The relevances [B, N]; negative for candidates without a label.
            y_pred: The scores [B, N].
            weight: The label weights, [B] or [B, N]; None where all are 1.
        """
        lists = Lists.of(y_true, y_pred, weight)
        losses = self.list_losses(lists.relevance, lists.scores, lists.weight)
        return tf.where(tf.reduce_any(lists.labelled, 1), losses, 0.0)

    def row_weight(self, weight: Any) -> tf.Tensor:
        """Return the weight of each list [B], from that of its candidates [B, N], or of lists [B]."""
        return weight_per_list(weight)

    def list_losses(self, relevance: tf.Tensor, scores: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        """Return one value per list, [B], which must not depend on the scale of the list's weights.

        Args:
            relevance: The relevances [B, N], at least 0; 0 for candidates without a label.
            scores: The scores [B, N]; 0 for candidates without a label.
            weight: The label weights [B, N]; 0 for candidates without a label.
        """
        raise NotImplementedError


def safe_ratio(numerator: tf.Tensor, denominator: tf.Tensor) -> tf.Tensor:
    """Return the ratio, and the numerator where the denominator is 0, so that a NaN is never hidden."""
    return numerator / tf.where(denominator > 0, denominator, 1.0)
