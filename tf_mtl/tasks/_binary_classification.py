"""Binary classification."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.metrics import LogitsBinaryAccuracy
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._binary_crossentropy import BinaryCrossentropy
from tf_mtl.tasks._head_arguments import class_names


@keras.saving.register_keras_serializable("tf_mtl")
class BinaryClassification(Task):
    """One of two classes: a logit [B, 1] from a feature vector, or one per position, with binary cross-entropy.

    Labels are 0 or 1, or probabilities, [B] or [B, 1]. Metrics: `auc`, `accuracy`.
    Decoded: `label`, the name of the predicted class, and `score`, the probability of the second class; both [B]. From
    a sequence or map, labels and answers have its positions as well, such as [B, H, W].

    Args:
        name: The task's name.
        labels: The names of the classes 0 and 1.
        threshold: The smallest probability for which the second class is predicted.
        pos_weight: The factor of the second class in the loss.
        label_smoothing: How far labels are moved towards 1/2 in the loss: 0.1 makes 0.05 and 0.95 of 0 and 1.
        focal: The exponent gamma of the focal loss, which gives rows that are easy little weight; 2 in the paper
            (Lin et al., ICCV 2017). 0 for the cross-entropy.
        **kwargs: See `Task`.

    Raises:
        ValueError: if `labels` are not two different names, a number is out of range, or `focal` is combined with
            another option of the loss.

    Example:

    >>> task = mtl.tasks.BinaryClassification("spam", labels=["ham", "spam"])
    >>> task.decode(np.array([[0.0], [-3.0]]))["label"].numpy().tolist()
    [b'spam', b'ham']
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str] = ("no", "yes"),
        threshold: float = 0.5,
        pos_weight: float = 1.0,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels)
        if len(self.labels) != 2:
            raise ValueError(
                f"`labels` of task '{name}' must be two names, received {labels}. "
                "For more classes use Classification or MultiLabel."
            )
        self.threshold = in_range("threshold", threshold, 0, 1)
        self._crossentropy = BinaryCrossentropy(name, pos_weight, label_smoothing, focal)

    @property
    def output_units(self) -> int:
        """1, for the logit."""
        return 1

    @property
    def loss(self) -> keras.losses.Loss:
        """Binary cross-entropy from logits, with the options set."""
        return self._crossentropy.loss(plain=keras.losses.BinaryCrossentropy(from_logits=True))

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the area under the ROC curve, and accuracy."""
        return [
            keras.metrics.AUC(from_logits=True, name="auc"),
            LogitsBinaryAccuracy(threshold=self.threshold),
        ]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `label` (string) and `score`, both [...], from logits [..., 1]."""
        score = tf.sigmoid(tf.cast(output, tf.float32))[..., 0]
        return {
            "label": tf.gather(tf.constant(self.labels), tf.cast(score >= self.threshold, tf.int32)),
            "score": score,
        }

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities."""
        return keras.layers.Activation("sigmoid", dtype="float32", name=f"{self.name}_probabilities")(output)

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per row."""
        return self.loss.call(tf.sigmoid(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "threshold": self.threshold,
            **self._crossentropy.config,
        }
