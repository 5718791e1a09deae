"""Perplexity of tokens."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tf_mtl")
class Perplexity(keras.metrics.Mean):
    r"""The exponential of the mean cross-entropy over all tokens with a label.

    $$\exp\left(-\frac{\sum_i w_i \log p_i}{\sum_i w_i}\right)$$

    where $p_i$ is the probability of token i; 0 without labels. `keras_hub.metrics.Perplexity` gives the same, but
    `EarlyStopping` and other callbacks do not know that less of it is better.

    Args:
        name: Name of the metric.
        dtype: See `keras.metrics.Metric`.

    Example:

    >>> metric = mtl.metrics.Perplexity()
    >>> metric.update_state(np.array([[1, 2]]), np.zeros((1, 2, 5), "float32"))
    >>> round(float(metric.result()), 4)
    5.0
    """

    _direction = "down"

    def __init__(self, name: str = "perplexity", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add token ids [..., S] and logits [..., S, V]; weights are [...] or [..., S]."""
        y_pred = tf.cast(y_pred, tf.float32)
        y_true = tf.reshape(tf.cast(y_true, tf.int32), tf.shape(y_pred)[:-1])
        super().update_state(tf.nn.sparse_softmax_cross_entropy_with_logits(y_true, y_pred), sample_weight)

    def result(self) -> Any:
        """Return the perplexity."""
        return keras.ops.where(self.count > 0, keras.ops.exp(super().result()), 0.0)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype}
