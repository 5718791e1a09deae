"""Errors of numbers with one value per cell, so that single values of a row may be missing."""

from abc import abstractmethod
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range


class CellwiseError(keras.losses.Loss):
    """The base of losses of $(y - \\hat y) / s$, one value per cell.

    Args:
        scale: The scale $s$, in the labels' units.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.
    """

    def __init__(self, scale: float, reduction: str, name: str, dtype: Any):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.scale = float(in_range("scale", scale, 0, open_low=True))

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return the loss of each cell, [..., D], from labels and predictions, both [..., D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        return self.of_error(tf.cast(y_true, y_pred.dtype) / self.scale - y_pred / self.scale)

    @abstractmethod
    def of_error(self, error: tf.Tensor) -> tf.Tensor:
        """Return the loss of each error, in units of the scale."""

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseAbsoluteError(CellwiseError):
    r"""Absolute error in units of a scale, one value per cell.

    $$l_{bd} = \left| \frac{y_{bd} - \hat y_{bd}}{s} \right|$$

    Args:
        scale: The scale $s$, in the labels' units.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `scale` is not positive.

    Example:

    >>> mtl.losses.CellwiseAbsoluteError(scale=2.0).call(np.array([[1.0]]), np.array([[5.0]])).numpy().tolist()
    [[2.0]]
    """

    def __init__(
        self,
        scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "mean_absolute_error",
        dtype: Any = None,
    ):
        super().__init__(scale, reduction, name, dtype)

    def of_error(self, error: tf.Tensor) -> tf.Tensor:
        """Return the absolute errors."""
        return tf.abs(error)


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseHuber(CellwiseError):
    r"""Huber's loss in units of a scale, one value per cell: quadratic for small errors, linear for large ones.

    $$l_{bd} = \begin{cases} e^2 / 2 & |e| \le \delta \\ \delta (|e| - \delta / 2) & \text{otherwise} \end{cases}
    \qquad e = \frac{y_{bd} - \hat y_{bd}}{s}$$

    Args:
        scale: The scale $s$, in the labels' units.
        delta: The error $\delta$, in units of $s$, above which the loss is linear; 1 as in `keras.losses.Huber`.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `scale` or `delta` is not positive.

    Example:

    >>> mtl.losses.CellwiseHuber().call(np.array([[1.0, 0.0]]), np.array([[4.0, 0.5]])).numpy().tolist()
    [[2.5, 0.125]]
    """

    def __init__(
        self,
        scale: float = 1.0,
        delta: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "huber",
        dtype: Any = None,
    ):
        super().__init__(scale, reduction, name, dtype)
        self.delta = float(in_range("delta", delta, 0, open_low=True))

    def of_error(self, error: tf.Tensor) -> tf.Tensor:
        """Return Huber's loss of each error."""
        size = tf.abs(error)
        return tf.where(size <= self.delta, 0.5 * size**2, self.delta * (size - 0.5 * self.delta))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "delta": self.delta}


@keras.saving.register_keras_serializable("tf_mtl")
class CellwiseQuantile(CellwiseError):
    r"""The pinball loss in units of a scale, one value per cell, which is least at a quantile of the labels.

    $$l_{bd} = \max\big(q e, (q - 1) e\big), \qquad e = \frac{y_{bd} - \hat y_{bd}}{s}$$

    Args:
        quantile: The quantile $q$; 0.5, the median, by default.
        scale: The scale $s$, in the labels' units.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `scale` is not positive, or `quantile` is not between 0 and 1.

    Reference: Koenker & Bassett, "Regression quantiles", Econometrica 1978.

    Example:

    >>> loss = mtl.losses.CellwiseQuantile(0.75)
    >>> loss.call(np.array([[4.0, 0.0]]), np.array([[0.0, 4.0]])).numpy().tolist()
    [[3.0, 1.0]]
    """

    def __init__(
        self,
        quantile: float = 0.5,
        scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "quantile",
        dtype: Any = None,
    ):
        super().__init__(scale, reduction, name, dtype)
        self.quantile = float(in_range("quantile", quantile, 0, 1, open_low=True, open_high=True))

    def of_error(self, error: tf.Tensor) -> tf.Tensor:
        """Return the pinball loss of each error."""
        return tf.maximum(self.quantile * error, (self.quantile - 1) * error)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "quantile": self.quantile}
