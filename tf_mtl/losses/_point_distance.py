"""The distance of points."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range


@keras.saving.register_keras_serializable("tf_mtl")
class PointDistance(keras.losses.Loss):
    r"""The distance of points in units of a scale, summed over coordinates, one value per point, [...], from [..., D].

    $$l = \frac{1}{s} \sum_d |y_d - \hat y_d|$$

    In `MultiTaskModel`, labels with a negative coordinate are missing.

    Args:
        scale: The scale $s$, in pixels.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if the scale is not positive.

    Example:

    >>> loss = mtl.losses.PointDistance(scale=10.0)
    >>> loss.call(np.array([[5.0, 5.0]]), np.array([[6.0, 2.0]])).numpy().round(3).tolist()
    [0.4]
    """

    def __init__(
        self,
        scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "point_distance",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.scale = float(in_range("scale", scale, 0, open_low=True))

    def is_missing(self, y: tf.Tensor) -> tf.Tensor:
        """Return which labels are none: those with a negative coordinate."""
        return tf.reduce_any(y < 0, -1)

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the distance of labels and predictions, both [..., D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        return tf.reduce_sum(tf.abs(tf.cast(y_true, y_pred.dtype) - y_pred), -1) / self.scale

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}
