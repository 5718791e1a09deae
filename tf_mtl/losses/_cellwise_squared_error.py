"""Squared error with one value per cell, so that single values of a row may be missing."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseSquaredError(keras.losses.MeanSquaredError):
    r"""Squared error, one value per cell: $l_{bd} = (y_{bd} - \hat y_{bd})^2$.

    Keras' `MeanSquaredError` returns the mean over a row's values, so a weight can only exclude whole rows. Where all
    values of a row have the same weight, a task's loss is the same with both.

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Example:

    >>> loss = mtl.losses.CellwiseSquaredError()
    >>> loss.call(np.array([[1.0, 0.0]]), np.array([[3.0, 0.5]])).numpy().tolist()
    [[4.0, 0.25]]
    """

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the squared error of each cell, [B, D], from labels and predictions, both [B, D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        return tf.math.squared_difference(tf.cast(y_true, y_pred.dtype), y_pred)
