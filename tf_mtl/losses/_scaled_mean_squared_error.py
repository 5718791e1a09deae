"""Mean squared error of values that are divided by a scale first."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class ScaledMeanSquaredError(keras.losses.MeanSquaredError):
    r"""Mean squared error in units of a scale.

    $$l_b = \frac{1}{D} \sum_d \left( \frac{y_{bd} - \hat y_{bd}}{s} \right)^2$$

    With the labels' standard deviation for $s$, a model that predicts their mean has a loss of 1, whatever the labels'
    units. So the losses of several tasks are comparable.

    Args:
        scale: The scale $s$, in the labels' units.
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.

    Raises:
        ValueError: if `scale` is not positive.

    Example:

    >>> loss = mtl.losses.ScaledMeanSquaredError(scale=100.0)
    >>> loss.call(np.array([[300.0]]), np.array([[100.0]])).numpy().tolist()
    [4.0]
    """

    def __init__(self, scale: float = 1.0, name: str = "mean_squared_error", **kwargs: Any):
        super().__init__(name=name, **kwargs)
        if not scale > 0:
            raise ValueError(f"`scale` must be positive, received {scale}.")
        self.scale = float(scale)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each row, [B], from labels and predictions [B, D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        return super().call(tf.cast(y_true, y_pred.dtype) / self.scale, y_pred / self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
