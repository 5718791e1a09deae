"""Cross-entropy of the first and the last word of a span."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class SpanCrossentropy(keras.losses.Loss):
    r"""The mean of the cross-entropies of the first and the last position of a span, one value per row.

    $$l_b = -\tfrac{1}{2} \left( \log p^{\mathrm{first}}_{b, y_{b1}} + \log p^{\mathrm{last}}_{b, y_{b2}} \right)$$

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Example:

    >>> loss = mtl.losses.SpanCrossentropy()
    >>> loss.call(np.array([[1, 2]]), np.zeros((1, 4, 2))).numpy().round(4).tolist()  # log 4
    [1.3863]
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "span_crossentropy", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return one value per row, [B], from positions [B, 2] and logits [B, P, 2]."""
        logits = tf.transpose(tf.convert_to_tensor(y_pred), [0, 2, 1])
        positions = tf.cast(y_true, tf.int32)
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(positions, logits), -1)
