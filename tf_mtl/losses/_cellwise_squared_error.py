"""Squared error with one value per cell, so that single values of a row may be missing."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.losses._cellwise_errors import CellwiseError


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseSquaredError(CellwiseError):
    r"""Squared error in units of a scale, one value per cell.

    $$l_{bd} = \left( \frac{y_{bd} - \hat y_{bd}}{s} \right)^2$$

    Keras' `MeanSquaredError` returns the mean over a row's values, so a weight can only exclude whole rows. Where all
    values of a row have the same weight, a task's loss is the same with both. With the labels' standard deviation for
    $s$, a model that predicts their mean has a loss of 1, so that losses of values in different units are comparable.

    Args:
        scale: The scale $s$, in the labels' units.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `scale` is not positive.

    Example:

    >>> loss = mtl.losses.CellwiseSquaredError(scale=2.0)
    >>> loss.call(np.array([[1.0, 0.0]]), np.array([[5.0, 1.0]])).numpy().tolist()
    [[4.0, 0.25]]
    """

    def __init__(
        self,
        scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "mean_squared_error",
        dtype: Any = None,
    ):
        super().__init__(scale, reduction, name, dtype)

    def of_error(self, error: tf.Tensor) -> tf.Tensor:
        """Return the squared errors."""
        return tf.square(error)
