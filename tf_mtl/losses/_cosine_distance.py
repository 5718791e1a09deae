"""The distance of directions."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class CosineDistance(keras.losses.Loss):
    r"""One minus the cosine of the angle between two vectors, one value per position, [...], from [..., D].

    $$l = 1 - \frac{y \cdot \hat y}{|y|\,|\hat y|}$$

    In `MultiTaskModel`, labels that are vectors of zeros are missing.

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Example:

    >>> mtl.losses.CosineDistance().call(np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])).numpy().tolist()
    [1.0]
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "cosine_distance", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def is_missing(self, y: tf.Tensor) -> tf.Tensor:
        """Return which labels are none: vectors of zeros."""
        return tf.reduce_all(y == 0, -1)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the distance of labels and predictions, both [..., D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        true, predicted = (tf.math.l2_normalize(x, -1) for x in (tf.cast(y_true, y_pred.dtype), y_pred))
        return 1 - tf.reduce_sum(true * predicted, -1)
