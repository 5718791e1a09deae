"""One or several numbers."""

import keras
import tensorflow as tf

from tf_mtl.metrics import Pearson
from tf_mtl.tasks._base import Task


@keras.saving.register_keras_serializable("tf_mtl")
class Regression(Task):
    """Numbers [B, D] from a feature vector, mean squared error.

    The head's last layer has outputs near 0 with variance near 1, and `scale * x + offset` brings them to
    the labels' units, so set `offset` and `scale` to the labels' mean and standard deviation. Labels, outputs and
    metrics are all in the labels' units. Labels are [B] or [B, D]. Metrics: `mae`, `rmse`, `pearson` (over the
    data set). Decoded: `value`, clipped to [low, high], and `raw`, before clipping; both [B], or [B, D] for D > 1.

    Args:
        name: The task's name.
        units: How many numbers D.
        scale: Standard deviation of the labels.
        offset: Mean of the labels.
        low: Least possible value, for decoding.
        high: Greatest possible value, for decoding.
        **kwargs: `features`, `hidden_units`, `dropout`; see `Task`.

    Raises:
        ValueError: if `scale` is not positive, or `low` not below `high`.

    Example:

    >>> task = mtl.tasks.Regression("stars", low=1, high=5)
    >>> task.decode(np.array([[7.0], [2.5]]))["value"].numpy().tolist()
    [5.0, 2.5]
    """

    def __init__(
        self,
        name: str,
        units: int = 1,
        scale: float = 1.0,
        offset: float = 0.0,
        low: float | None = None,
        high: float | None = None,
        **kwargs,
    ):
        super().__init__(name, **kwargs)
        if not scale > 0:
            raise ValueError(f"`scale` of task '{name}' must be positive, received {scale}.")
        if low is not None and high is not None and not low < high:
            raise ValueError(f"`low` of task '{name}' must be below `high`, received low={low}, high={high}.")
        self.units, self.scale, self.offset = units, float(scale), float(offset)
        self.low, self.high = low, high

    @property
    def output_units(self) -> int:
        """How many numbers the task predicts."""
        return self.units

    @property
    def loss(self) -> keras.losses.Loss:
        """Mean squared error."""
        return keras.losses.MeanSquaredError()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return mean absolute error, root mean squared error, and correlation over the data set."""
        return [
            keras.metrics.MeanAbsoluteError(name="mae"),
            keras.metrics.RootMeanSquaredError(name="rmse"),
            Pearson(),
        ]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the outputs in the labels' units."""
        x = keras.layers.Dense(self.units, dtype="float32", name=f"{self.name}_standardised")(x)
        return keras.layers.Rescaling(self.scale, self.offset, dtype="float32", name=self.name)(x)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `value` and `raw` from outputs [B, D]."""
        raw = tf.cast(output, tf.float32)
        if self.units == 1:
            raw = raw[:, 0]
        low, high = (
            limit if given is None else given
            for given, limit in ((self.low, -tf.float32.max), (self.high, tf.float32.max))
        )
        return {"value": tf.clip_by_value(raw, low, high), "raw": raw}

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "scale": self.scale,
            "offset": self.offset,
            "low": self.low,
            "high": self.high,
        }
