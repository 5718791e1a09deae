"""How far predicted depths are from the labelled ones."""

from abc import abstractmethod
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._shapes import match_rank


class _OfDepths(keras.metrics.Mean):
    """The mean over labelled pixels of a function of two depths."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels and predictions of one shape, with weights for images or pixels."""
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = match_rank(tf.cast(y_true, y_pred.dtype), len(y_pred.shape))
        weight = tf.cast(y_true > 0, y_pred.dtype)
        if sample_weight is not None:
            weight *= match_rank(tf.cast(sample_weight, y_pred.dtype), len(y_pred.shape))
        super().update_state(self._values(tf.where(weight > 0, y_true, 1.0), y_pred), weight)

    @abstractmethod
    def _values(self, y_true, y_pred):
        """One value per pixel."""


@keras.saving.register_keras_serializable("tf_mtl")
class AbsoluteRelativeError(_OfDepths):
    r"""The mean of $|\hat y - y| / y$ over pixels with a positive label.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.AbsoluteRelativeError()
    >>> metric.update_state(np.array([[2.0, 0.0]]), np.array([[3.0, 9.0]]))
    >>> float(metric.result())
    0.5
    """

    _direction = "down"  # for callbacks with mode="auto"

    def __init__(self, name: str = "abs_rel", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def _values(self, y_true, y_pred):
        return tf.abs(y_pred - y_true) / y_true


@keras.saving.register_keras_serializable("tf_mtl")
class DepthAccuracy(_OfDepths):
    r"""The fraction of pixels with a positive label for which $\max(\hat y / y, y / \hat y)$ is below a threshold.

    Args:
        threshold: The threshold; 1.25 for the usual $\delta_1$, $1.25^2$ for $\delta_2$.
        name: Name of the metric.
        dtype: The dtype of the result.

    Raises:
        ValueError: if the threshold is not above 1.

    Example:

    >>> metric = mtl.metrics.DepthAccuracy()
    >>> metric.update_state(np.array([[2.0, 2.0]]), np.array([[2.4, 3.0]]))
    >>> float(metric.result())
    0.5
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, threshold: float = 1.25, name: str = "delta1", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.threshold = float(in_range("threshold", threshold, 1, open_low=True))

    def _values(self, y_true, y_pred):
        is_near = (y_pred < self.threshold * y_true) & (y_true < self.threshold * y_pred)
        return tf.where(tf.math.is_nan(y_pred), y_pred, tf.cast(is_near, y_pred.dtype))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}
