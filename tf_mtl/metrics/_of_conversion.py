"""Metrics of conversions over the rows that they are about."""

from typing import Any

import keras
import tensorflow as tf

_CLICKS, _ALL = "clicks", "all"


@keras.saving.register_keras_serializable("tf_mtl")
class OfConversion(keras.metrics.Metric):
    """Applies a metric of binary logits to the outputs of a `tf_mtl.tasks.Conversion`.

    Over all impressions it measures the probability of "clicked and converted"; over clicks, that of a conversion after
    a click, on the rows that were clicked. A row without a click label does not count as a click.

    Args:
        metric: A metric of labels [B] and logits [B, 1].
        over: "all" or "clicks".
        name: Name of the metric; by default that of `metric`, with "cvr_" before it over clicks.
        dtype: The dtype of the result.

    Raises:
        ValueError: for another `over`.

    Example:

    >>> metric = mtl.metrics.OfConversion(keras.metrics.AUC(from_logits=True), over="clicks")
    >>> outputs = np.array([[2.0, 1.0, 1.0], [2.0, -1.0, 1.0], [-2.0, 3.0, 0.0]])
    >>> metric.update_state(np.array([1, 0, 0]), outputs)
    >>> metric.name, float(metric.result())
    ('cvr_auc', 1.0)
    """

    def __init__(self, metric: keras.metrics.Metric, over: str = _ALL, name: str | None = None, dtype: Any = None):
        if over not in (_ALL, _CLICKS):
            raise ValueError(f"`over` must be '{_ALL}' or '{_CLICKS}', received {over!r}.")
        super().__init__(name=name or (f"cvr_{metric.name}" if over == _CLICKS else metric.name), dtype=dtype)
        self.metric = metric
        self.over = over
        self._direction = getattr(metric, "_direction", None)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B] or [B, 1], a conversion's predictions [B, 3], and weights [B]."""
        both, conversion, is_click = tf.split(tf.cast(y_pred, tf.float32), 3, -1)
        if self.over == _ALL:
            self.metric.update_state(tf.reshape(y_true, [-1, 1]), both, sample_weight)
            return
        weight = tf.cast(is_click[:, 0] > 0, tf.float32)
        if sample_weight is not None:
            weight *= tf.reshape(tf.cast(sample_weight, tf.float32), [-1])
        self.metric.update_state(tf.reshape(y_true, [-1, 1]), conversion, weight)

    def result(self) -> Any:
        """Return the metric's result."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Reset the metric."""
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "metric": keras.saving.serialize_keras_object(self.metric),
            "over": self.over,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OfConversion":
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})
