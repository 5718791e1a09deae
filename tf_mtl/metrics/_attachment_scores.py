"""Accuracies of dependency parses."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


class _AttachmentScore(keras.metrics.Mean):
    """The fraction of words for which the first `columns` of (head, relation) are right."""

    _direction = "up"  # for callbacks with mode="auto"
    columns = 2

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add heads and relations [B, W, 2], and predicted ones; weights are [B] or [B, W]."""
        y_true, y_pred = (tf.cast(y, tf.int32)[..., : self.columns] for y in (y_true, y_pred))
        is_right = tf.reduce_all(y_true == y_pred, -1)
        if sample_weight is not None:
            sample_weight = match_rank(tf.convert_to_tensor(sample_weight), 2)
        super().update_state(tf.cast(is_right, tf.float32), sample_weight)


@keras.saving.register_keras_serializable("tf_mtl")
class UnlabeledAttachmentScore(_AttachmentScore):
    """The unlabeled attachment score (UAS): the fraction of words with the right head.

    Words of weight 0, such as punctuation, can be left out of the score.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.UnlabeledAttachmentScore()
    >>> metric.update_state(np.array([[[2, 1], [0, 0]]]), np.array([[[2, 3], [1, 0]]]))  # (head, relation)
    >>> float(metric.result())
    0.5
    """

    columns = 1

    def __init__(self, name: str = "uas", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)


@keras.saving.register_keras_serializable("tf_mtl")
class LabeledAttachmentScore(_AttachmentScore):
    """The labeled attachment score (LAS): the fraction of words with the right head and the right relation to it.

    Words of weight 0, such as punctuation, can be left out of the score.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.LabeledAttachmentScore()
    >>> metric.update_state(np.array([[[2, 1], [0, 0]]]), np.array([[[2, 3], [0, 0]]]))  # (head, relation)
    >>> float(metric.result())
    0.5
    """

    def __init__(self, name: str = "las", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
