"""Lists of candidates: which candidates have a label, and what a list counts."""

from typing import Any, NamedTuple

import tensorflow as tf

from tf_mtl._shapes import match_rank
from tf_mtl.layers._mask_candidates import MaskCandidates


class Lists(NamedTuple):
    """Lists of candidates, all [B, N].

    Attributes:
        labelled: Which candidates have a label.
        relevance: The relevances; 0 for candidates without a label, as are the others.
        scores: The scores.
        weight: The label weights.
    """

    labelled: tf.Tensor
    relevance: tf.Tensor
    scores: tf.Tensor
    weight: tf.Tensor

    @classmethod
    def of(cls, relevance: Any, scores: Any, weight: Any) -> "Lists":
        """Return the lists, in which padded candidates and those with a negative relevance have no label.

        Args:
            relevance: The relevances, [B, N] or [B, N, 1].
            scores: The scores [B, N], -1e9 for padded candidates.
            weight: The label weights, [B] or [B, N]; None where all are 1.
        """
        scores = tf.convert_to_tensor(scores)
        relevance = match_rank(tf.cast(relevance, scores.dtype), 2)
        weights = tf.ones_like(scores)
        if weight is not None:
            weights *= match_rank(tf.cast(weight, scores.dtype), 2)
        labelled = MaskCandidates.valid_mask(scores) & ~(relevance < 0) & (weights > 0)  # a NaN counts, and shows
        return cls(labelled, *(tf.where(labelled, x, 0.0) for x in (relevance, scores, weights)))


def weight_per_list(weight: tf.Tensor) -> tf.Tensor:
    """Return the weight of each list [B]: the mean weight of its labelled candidates; 0 for a list without any.

    Args:
        weight: Label weights of candidates [B, N], or of lists, [B] or [B, 1].
    """
    weight = match_rank(tf.cast(weight, tf.float32), 2)
    labelled = tf.cast(weight > 0, tf.float32)
    return tf.math.divide_no_nan(tf.reduce_sum(weight, 1), tf.reduce_sum(labelled, 1))
