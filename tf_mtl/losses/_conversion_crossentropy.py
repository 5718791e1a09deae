"""Cross-entropy of conversions over all impressions."""

import math
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range


@keras.saving.register_keras_serializable("tf_mtl")
class ConversionCrossentropy(keras.losses.Loss):
    r"""The cross-entropy of "clicked and converted" over all impressions, the loss of the entire-space model.

    With the logits a of a click and b of a conversion after a click, the probability of both is
    $p = \sigma(a)\,\sigma(b)$, and

    $$l = -y \log p - (1 - y) \log(1 - p).$$

    Both logarithms are computed from the logits, so small probabilities keep their precision. With `propensity`, the
    loss of the conversion among clicks is added, weighted by the inverse of the predicted propensity to click; no
    gradient flows through the propensity:

    $$l + \lambda \, \frac{o}{\max(\sigma(a), c)} \, \mathrm{BCE}(y, \sigma(b)), \quad o = 1 \text{ for a click.}$$

    Args:
        propensity: The factor $\lambda$ of the second term; 0 for none.
        clip: The smallest propensity c.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if a number is out of range.

    References: Ma et al., "Entire space multi-task model", SIGIR 2018; Wang et al., "ESCM2: entire space counterfactual
    multi-task model for post-click conversion rate estimation", SIGIR 2022.

    Example:

    >>> loss = mtl.losses.ConversionCrossentropy()
    >>> loss.call(np.array([1, 0]), np.array([[0.0, 0.0, 1.0], [0.0, -5.0, 0.0]])).numpy().round(4).tolist()
    [1.3863, 0.0034]
    """

    def __init__(
        self,
        propensity: float = 0.0,
        clip: float = 0.05,
        reduction: str = "sum_over_batch_size",
        name: str = "conversion_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.propensity = float(in_range("propensity", propensity, 0))
        self.clip = float(in_range("clip", clip, 0, 1, open_low=True))

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return one value per row from labels [B] or [B, 1] and outputs [B, 3]: a, b, and o, -1 where unknown."""
        click, conversion, is_click = tf.unstack(tf.convert_to_tensor(y_pred), num=3, axis=-1)
        y = tf.reshape(tf.cast(y_true, click.dtype), tf.shape(click))
        both, not_both = log_probabilities(click, conversion)
        loss = -y * both - (1 - y) * not_both
        if not self.propensity:
            return loss
        weight = tf.maximum(is_click, 0) / tf.maximum(tf.stop_gradient(tf.sigmoid(click)), self.clip)
        return loss + self.propensity * weight * tf.nn.sigmoid_cross_entropy_with_logits(y, conversion)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "propensity": self.propensity, "clip": self.clip}


def log_probabilities(click: tf.Tensor, conversion: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return log p and log(1 - p) of "clicked and converted" from the logits of both.

    1 - p is the probability of no click, plus that of a click without conversion, if p is not small.
    """
    clicked = tf.math.log_sigmoid(click)
    both = clicked + tf.math.log_sigmoid(conversion)
    parts = [tf.math.log_sigmoid(-click), clicked + tf.math.log_sigmoid(-conversion)]
    is_small = both < math.log(0.5)
    small = tf.math.log1p(-tf.exp(tf.where(is_small, both, math.log(0.5))))
    return both, tf.where(is_small, small, tf.reduce_logsumexp(tf.stack(parts, -1), -1))
