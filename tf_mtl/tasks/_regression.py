"""Regression of one or several numbers."""

from collections.abc import Callable
from typing import Any, cast

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._names import nearest
from tf_mtl.losses import (
    CellwiseAbsoluteError,
    CellwiseHuber,
    CellwisePoisson,
    CellwiseQuantile,
    CellwiseSquaredError,
)
from tf_mtl.metrics import Pearson
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._cellwise_metric import CellwiseMeanAbsoluteError


@keras.saving.register_keras_serializable("tf_mtl")
class Regression(Task):
    """Numbers [B, D] from a feature vector, or [B, ..., D] from a sequence or map, by default with squared error.

    The head's last layer has outputs x near 0 with variance near 1, and `scale * x + offset` converts them to the
    labels' units. Set `offset` and `scale` to the labels' mean and standard deviation. Labels, outputs and metrics are
    in the labels' units. The loss is in units of `scale`, which makes it comparable with other tasks' losses; a loss
    given to `compile` is taken in the labels' units. Labels are [B] or [B, D]. Label weights are [B] for rows, or
    [B, D] if single values are missing, as `data.mask_missing` returns them. Metrics: `mae`, `rmse`, `pearson` (over
    the data set). Decoded: `value`, clipped to [low, high], and `raw`, before clipping; both [B], or [B, D] for D > 1.
    From a sequence or map, labels and decoded values have its positions as well: a depth map, for instance, has the
    shape [B, H, W].

    Args:
        name: The task's name.
        units: The number D of values per row or position.
        scale: The standard deviation of the labels.
        offset: The mean of the labels.
        low: The smallest decoded value; None for no limit.
        high: The largest decoded value; None for no limit.
        loss: "mse", "mae" (the median), "huber" (with the limit at one `scale`), "quantile", or "poisson" for counts,
            where the output is the rate, exp(scale * x + offset).
        quantile: The quantile, between 0 and 1, for the loss "quantile".
        **kwargs: See `Task`.

    Raises:
        ValueError: if a number is out of range, `low` is not below `high`, the loss is not one of these, or `quantile`
            is given for another loss, or not given for its own.

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
        loss: str = "mse",
        quantile: float | None = None,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        self.units = integer("units", units, 1)
        self.scale = float(in_range("scale", scale, 0, open_low=True))
        self.offset = float(in_range("offset", offset))
        self.low, self.high = (
            None if limit is None else in_range(argument, limit) for argument, limit in (("low", low), ("high", high))
        )
        if low is not None and high is not None and not low < high:
            raise ValueError(f"`low` of task '{name}' must be below `high`, received low={low}, high={high}.")
        if loss not in _LOSSES:
            raise ValueError(
                f"`loss` of task '{name}' must be one of {list(_LOSSES)}, received {loss!r}."
                f"{nearest(str(loss), _LOSSES)} Pass loss objects to compile(loss={{'{name}': loss}})."
            )
        if (quantile is None) == (loss == "quantile"):
            raise ValueError(
                f"`quantile` of task '{name}' belongs to loss='quantile', received quantile={quantile} and "
                f"loss={loss!r}. Set both, or neither."
            )
        self.loss_name, self.quantile = loss, quantile
        _LOSSES[loss](self)  # checks the quantile

    @property
    def output_units(self) -> int:
        """The number of values per row or position."""
        return self.units

    @property
    def loss(self) -> keras.losses.Loss:
        """The loss of each value: errors are in units of `scale`."""
        return _LOSSES[self.loss_name](self)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return mean absolute error, root mean squared error, and correlation over the data set."""
        return [
            CellwiseMeanAbsoluteError(name="mae"),
            keras.metrics.RootMeanSquaredError(name="rmse"),
            Pearson(),
        ]

    def output_layer(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return the outputs in the labels' units."""
        x = self.dense(self.units, f"{self.name}_standardised")(x)
        if self.loss_name != "poisson":
            return keras.layers.Rescaling(self.scale, self.offset, dtype="float32", name=self.name)(x)
        logarithm = keras.layers.Rescaling(self.scale, self.offset, dtype="float32", name=f"{self.name}_logarithm")(x)
        return keras.layers.Activation("exponential", dtype="float32", name=self.name)(logarithm)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `value` and `raw`, [...] or [..., D] for D > 1, from outputs [..., D]."""
        raw = tf.cast(output, tf.float32)
        if self.units == 1:
            raw = raw[..., 0]
        low = -tf.float32.max if self.low is None else self.low
        high = tf.float32.max if self.high is None else self.high
        return {"value": tf.clip_by_value(raw, low, high), "raw": raw}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "scale": self.scale,
            "offset": self.offset,
            "low": self.low,
            "high": self.high,
            "loss": self.loss_name,
            "quantile": self.quantile,
        }


_LOSSES: dict[str, Callable[[Regression], keras.losses.Loss]] = {
    "mse": lambda task: CellwiseSquaredError(task.scale),
    "mae": lambda task: CellwiseAbsoluteError(task.scale),
    "huber": lambda task: CellwiseHuber(task.scale),
    "quantile": lambda task: CellwiseQuantile(cast(float, task.quantile), task.scale),
    "poisson": lambda task: CellwisePoisson(),
}
