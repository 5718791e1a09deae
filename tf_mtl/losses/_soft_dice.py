"""Dice's loss of regions."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._shapes import match_rank
from tf_mtl.losses._parts_loss import PartsLoss


@keras.saving.register_keras_serializable("tf_mtl")
class SoftDice(PartsLoss):
    r"""One minus the Dice coefficient of predicted and labelled regions, one value per image, [B], from logits.

    $$l = 1 - \frac{1}{|K|} \sum_{c \in K} \frac{2 \sum_i w_i p_{ic} [y_i = c]}{\sum_i w_i (p_{ic} + [y_i = c])}
    + \beta \frac{\sum_i w_i (-\log p_{i y_i})}{\sum_i w_i}$$

    with the probability $p_{ic}$ of class $c$ at pixel $i$, and $K$ the classes that occur among the image's labels.
    Pixels count by their weights [B, H, W]; an image counts by the largest of them. An image without labelled pixels
    has the value 0.

    Args:
        crossentropy: The factor $\beta$ of the mean cross-entropy of the image's pixels; 0 for Dice's loss alone.
        ignore_class: A class index that means "no label"; None if there is none.
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if `crossentropy` is negative.

    Reference: Milletari et al., "V-Net: fully convolutional neural networks for volumetric medical image segmentation",
    3DV 2016.

    Example:

    >>> logits = np.array([[[[9.0, -9.0], [-9.0, 9.0]]]])
    >>> mtl.losses.SoftDice().call(np.array([[[0, 1]]]), logits).numpy().round(3).tolist()
    [0.0]
    """

    def __init__(
        self,
        crossentropy: float = 0.0,
        ignore_class: int | None = None,
        reduction: str = "sum_over_batch_size",
        name: str = "soft_dice",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.crossentropy = in_range("crossentropy", crossentropy, 0)
        self.ignore_class = ignore_class

    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per image, [B].

        Args:
            y_true: Class indices [B, H, W] or [B, H, W, 1].
            y_pred: Logits [B, H, W, C].
            weight: Weights, [B] or [B, H, W]; None where all are 1.
        """
        logits = tf.convert_to_tensor(y_pred)
        classes = tf.cast(match_rank(tf.convert_to_tensor(y_true), 3), tf.int32)
        counts = tf.ones_like(logits[..., 0])
        if weight is not None:
            counts *= match_rank(tf.cast(weight, logits.dtype), 3)
        if self.ignore_class is not None:
            counts *= tf.cast(classes != self.ignore_class, logits.dtype)
        classes = tf.where(counts > 0, classes, 0)
        counts = counts[..., None]
        labels = tf.one_hot(classes, logits.shape[-1], dtype=logits.dtype) * counts
        probabilities = tf.nn.softmax(logits) * counts
        common, total = (tf.reduce_sum(x, [1, 2]) for x in (labels * tf.nn.softmax(logits), labels + probabilities))
        occurs = tf.cast(tf.reduce_sum(labels, [1, 2]) > 0, logits.dtype)
        dice = tf.math.divide_no_nan(tf.reduce_sum(occurs * _ratio(2 * common, total), 1), tf.reduce_sum(occurs, 1))
        has_labels = tf.reduce_sum(occurs, 1) > 0
        loss = tf.where(has_labels, 1 - dice, 0.0)
        if self.crossentropy:
            of_pixels = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits) * counts[..., 0]
            number = tf.reduce_sum(counts, [1, 2, 3])
            loss += self.crossentropy * _ratio(tf.reduce_sum(of_pixels, [1, 2]), number)
        return loss

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "crossentropy": self.crossentropy, "ignore_class": self.ignore_class}


def _ratio(numerator, denominator):
    """The ratio, and the numerator where the denominator is 0, so that a NaN is never hidden."""
    return numerator / tf.where(denominator > 0, denominator, 1.0)
