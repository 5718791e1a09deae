"""Losses of depths, whose valid pixels differ between images."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._names import nearest
from tf_mtl._shapes import match_rank
from tf_mtl.losses._parts_loss import PartsLoss


@keras.saving.register_keras_serializable("tf_mtl")
class DepthLoss(PartsLoss):
    r"""A loss of depth maps, one value per image, [B], over the pixels with a positive depth.

    With the error $e_i = \hat y_i - y_i$, the error of logarithms $d_i = \log \hat y_i - \log y_i$, and means over an
    image's valid pixels:

    - "silog", which does not depend on the scale of all depths if $\lambda = 1$:
      $\mathrm{mean}(d^2) - \lambda\, \mathrm{mean}(d)^2$;
    - "berhu", with $c = 0.2 \max_i |e_i|$: the mean of $|e_i|$ where it is at most $c$, and of $(e_i^2 + c^2) / 2c$
      elsewhere;
    - "l1": the mean of $|e_i|$.

    Pixels count by their weights [B, H, W]; labels that are not positive have the weight 0. An image counts by the
    largest of them.

    Args:
        kind: "silog", "berhu" or "l1".
        variance_focus: $\lambda$ of "silog", from 0 to 1; 0.85 as is usual (Lee et al., "From big to small", 2019),
            0.5 in the paper.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: for another kind, or a number out of range.

    References: Eigen et al., "Depth map prediction from a single image using a multi-scale deep network", NeurIPS 2014;
    Laina et al., "Deeper depth prediction with fully convolutional residual networks", 3DV 2016.

    Example:

    >>> loss = mtl.losses.DepthLoss("silog", variance_focus=1.0)
    >>> loss.call(np.array([[[1.0, 2.0, 0.0]]]), np.array([[[[3.0], [6.0], [5.0]]]])).numpy().round(3).tolist()
    [0.0]
    """

    def __init__(
        self,
        kind: str = "silog",
        variance_focus: float = 0.85,
        reduction: str = "sum_over_batch_size",
        name: str = "depth_loss",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        if kind not in _KINDS:
            raise ValueError(f"`kind` must be one of {list(_KINDS)}, received {kind!r}.{nearest(str(kind), _KINDS)}")
        self.kind = kind
        self.variance_focus = in_range("variance_focus", variance_focus, 0, 1)

    def is_missing(self, y: tf.Tensor) -> tf.Tensor:
        """Return which labels are none: those that are not positive."""
        return y <= 0

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per image, [B].

        Args:
            y_true: Depths [B, H, W] or [B, H, W, 1].
            y_pred: Positive depths [B, H, W, 1].
            weight: Weights, [B] or of the labels' shape; None where all are 1.
        """
        predicted = match_rank(tf.convert_to_tensor(y_pred), 3)
        depths = match_rank(tf.cast(y_true, predicted.dtype), 3)
        counts = tf.cast(depths > 0, predicted.dtype)
        if weight is not None:
            counts *= match_rank(tf.cast(weight, predicted.dtype), 3)
        is_valid = counts > 0
        depths, predicted = (tf.where(is_valid, x, 1.0) for x in (depths, predicted))
        number = tf.reduce_sum(counts, [1, 2])

        def mean(values: tf.Tensor) -> tf.Tensor:
            return tf.reduce_sum(values * counts, [1, 2]) / tf.where(number > 0, number, 1.0)

        return _KINDS[self.kind](depths, predicted, mean, self.variance_focus)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind, "variance_focus": self.variance_focus}


def _silog(depths, predicted, mean, variance_focus):
    differences = tf.math.log(predicted) - tf.math.log(depths)
    return mean(differences**2) - variance_focus * mean(differences) ** 2


def _berhu(depths, predicted, mean, variance_focus):
    error = tf.abs(predicted - depths)
    limit = tf.stop_gradient(0.2 * tf.reduce_max(error, [1, 2], keepdims=True))
    above = (error**2 + limit**2) / tf.where(limit > 0, 2 * limit, 1.0)
    return mean(tf.where(error <= limit, error, above))


_KINDS: dict[str, Callable[..., tf.Tensor]] = {
    "silog": _silog,
    "berhu": _berhu,
    "l1": lambda depths, predicted, mean, variance_focus: mean(tf.abs(predicted - depths)),
}
