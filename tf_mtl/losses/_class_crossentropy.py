"""Cross-entropy of class indices, with class weights, label smoothing or focus on hard rows."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class ClassCrossentropy(keras.losses.Loss):
    r"""Cross-entropy from logits and class indices, with options that Keras' sparse loss lacks.

    $$l = -c_y (1 - p_y)^\gamma \sum_k q_k \log p_k, \qquad q_k = (1 - \epsilon) [k = y] + \epsilon / C$$

    Args:
        class_weights: The factor $c_y$ of each of the C classes; None for 1.
        label_smoothing: The probability $\epsilon$ that is spread evenly over all classes (Szegedy et al., "Rethinking
            the Inception architecture for computer vision", CVPR 2016).
        gamma: The exponent $\gamma$ of the focal loss (Lin et al., "Focal loss for dense object detection", ICCV 2017).
        reduction: See `keras.losses.Loss`.
        name: Name of the loss.
        dtype: See `keras.losses.Loss`.

    Raises:
        ValueError: if a number is out of range, or label smoothing is combined with the focal loss.

    Example:

    >>> loss = mtl.losses.ClassCrossentropy(class_weights=[1.0, 3.0])
    >>> loss.call(np.array([0, 1]), np.array([[0.0, 0.0], [0.0, 0.0]])).numpy().round(4).tolist()
    [0.6931, 2.0794]
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "class_crossentropy",
        dtype: Any = None,
    ):
        super().__init__(reduction=reduction, name=name, dtype=dtype)
        self.class_weights = (
            None if class_weights is None else [float(in_range("class_weights", w, 0)) for w in class_weights]
        )
        self.label_smoothing = in_range("label_smoothing", label_smoothing, 0, 1, open_high=True)
        self.gamma = in_range("gamma", gamma, 0)
        if label_smoothing and gamma:
            raise ValueError(
                "`label_smoothing` and the focal loss are not supported together: one rewards less certain answers, "
                "the other ignores certain ones. Use one of them."
            )

    def call(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """Return one value per row or position, [...], from class indices [...] or [..., 1] and logits [..., C]."""
        logits = tf.convert_to_tensor(y_pred)
        classes = tf.cast(match_rank(tf.convert_to_tensor(y_true), len(logits.shape) - 1), tf.int32)
        if self.label_smoothing:
            of_others = self.label_smoothing / logits.shape[-1]
            smooth = tf.one_hot(classes, logits.shape[-1], 1 - self.label_smoothing + of_others, of_others)
            loss = tf.nn.softmax_cross_entropy_with_logits(tf.cast(smooth, logits.dtype), logits)
        else:
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
        if self.gamma:
            others = tf.maximum(-tf.math.expm1(-loss), 1e-7)  # the gradient of a power below 1 has no limit at 0
            loss *= others**self.gamma
        if self.class_weights is not None:
            loss *= tf.gather(tf.constant(self.class_weights, loss.dtype), classes)
        return loss

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "class_weights": self.class_weights,
            "label_smoothing": self.label_smoothing,
            "gamma": self.gamma,
        }
