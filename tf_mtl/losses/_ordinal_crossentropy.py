"""Cross-entropy of ordered levels."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class OrdinalCrossentropy(keras.losses.Loss):
    r"""The loss of CORAL: one binary cross-entropy for each of the K - 1 thresholds between K levels, summed.

    $$l_b = \sum_{k=0}^{K-2} \mathrm{BCE}\big(\sigma(z_{bk}), [y_b > k]\big)$$

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Reference: Cao, Mirjalili & Raschka, "Rank consistent ordinal regression for neural networks with application to age
    estimation", Pattern Recognition Letters 2020.

    Example:

    >>> loss = mtl.losses.OrdinalCrossentropy()
    >>> loss.call(np.array([2, 0]), np.array([[3.0, 1.0], [3.0, 1.0]])).numpy().round(2).tolist()
    [0.36, 4.36]
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "ordinal_crossentropy", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return one value per row or position, [...], from levels [...] or [..., 1] and logits [..., K - 1]."""
        y_pred = tf.convert_to_tensor(y_pred)
        is_above = is_above_thresholds(y_true, y_pred.shape[-1], len(y_pred.shape))
        losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(is_above, y_pred.dtype), y_pred)
        return tf.reduce_sum(losses, -1)


def is_above_thresholds(levels: Any, thresholds: int, rank: int) -> tf.Tensor:
    """Return which thresholds lie below levels, [..., K - 1] of some rank."""
    levels = match_rank(tf.cast(levels, tf.float32), rank)
    return levels > tf.range(thresholds, dtype=tf.float32)
