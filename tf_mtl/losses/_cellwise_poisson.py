"""The Poisson loss of counts with one value per cell, so that single counts of a row may be missing."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class CellwisePoisson(keras.losses.Loss):
    r"""The negative log-likelihood of counts under a Poisson distribution, without its constant; one value per cell.

    $$l_{bd} = \hat y_{bd} - y_{bd} \log \hat y_{bd}$$

    Args:
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Example:

    >>> loss = mtl.losses.CellwisePoisson()
    >>> loss.call(np.array([[0.0, 2.0]]), np.array([[1.0, 1.0]])).numpy().tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str = "poisson", dtype: Any = None):
        super().__init__(reduction=reduction, name=name, dtype=dtype)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each cell, [..., D], from counts and positive rates, both [..., D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        return y_pred - tf.math.xlogy(tf.cast(y_true, y_pred.dtype), y_pred)
