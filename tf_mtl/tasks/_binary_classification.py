"""Yes or no."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl.metrics import LogitsBinaryAccuracy
from tf_mtl.tasks._base import Task, class_names


@keras.saving.register_keras_serializable("tf_mtl")
class BinaryClassification(Task):
    """Yes or no: a logit [B, 1] from a feature vector, binary cross-entropy.

    Labels are 0 or 1 (or a probability), [B] or [B, 1]. Metrics: `auc`, `accuracy`.
    Decoded: `label`, the name of the answer, and `score`, the probability of the second label; both [B].

    Args:
        name: The task's name.
        labels: Names of the answers for 0 and 1.
        threshold: Probability from which on the answer is the second label.
        **kwargs: `features`, `hidden_units`, `dropout`; see `Task`.

    Raises:
        ValueError: if `labels` are not two different names.

    Example:

    >>> task = mtl.tasks.BinaryClassification("spam", labels=["ham", "spam"])
    >>> task.decode(np.array([[0.0], [-3.0]]))["label"].numpy().tolist()
    [b'spam', b'ham']
    """

    def __init__(self, name: str, labels: Sequence[str] = ("no", "yes"), threshold: float = 0.5, **kwargs):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels)
        if len(self.labels) != 2:
            raise ValueError(
                f"`labels` of task '{name}' must be two names, received {labels}. "
                "For more classes use Classification or MultiLabel."
            )
        self.threshold = threshold

    @property
    def output_units(self) -> int:
        """One logit."""
        return 1

    @property
    def loss(self) -> keras.losses.Loss:
        """Binary cross-entropy of logits."""
        return keras.losses.BinaryCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the area under the ROC curve and accuracy."""
        return [
            keras.metrics.AUC(from_logits=True, name="auc"),
            LogitsBinaryAccuracy(threshold=self.threshold),
        ]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `label` [B] (string) and `score` [B] from logits [B, 1]."""
        score = tf.sigmoid(tf.cast(output, tf.float32))[:, 0]
        return {
            "label": tf.gather(tf.constant(self.labels), tf.cast(score >= self.threshold, tf.int32)),
            "score": score,
        }

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy of two models' logits, in the shape of the task's loss."""
        return self.loss.call(tf.sigmoid(target), output)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "threshold": self.threshold}
