"""One of several classes."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl.metrics import MacroF1
from tf_mtl.tasks._base import Task, class_names


@keras.saving.register_keras_serializable("tf_mtl")
class Classification(Task):
    """One of C classes: logits [B, C] from a feature vector, sparse categorical cross-entropy.

    Labels are class indices [B] or [B, 1], from 0 to C - 1. Metrics: `accuracy`, `macro_f1`.
    Decoded: `label`, the class' name, and `score`, its probability; both [B].

    Args:
        name: The task's name.
        labels: The classes' names, or their number.
        **kwargs: `features`, `hidden_units`, `dropout`; see `Task`.

    Raises:
        ValueError: for fewer than two classes, or a name that occurs twice.

    Example:

    >>> task = mtl.tasks.Classification("topic", labels=["news", "sport"])
    >>> task.decode(np.array([[0.0, 2.0]]))["label"].numpy().tolist()
    [b'sport']
    """

    def __init__(self, name: str, labels: Sequence[str] | int, **kwargs):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels)

    @property
    def output_units(self) -> int:
        """The number of classes."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy of logits."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return accuracy and macro-F1."""
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy"), MacroF1(len(self.labels))]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `label` [B] (string) and `score` [B] from logits [B, C]."""
        probabilities = tf.nn.softmax(tf.cast(output, tf.float32))
        best = tf.argmax(probabilities, -1)
        return {
            "label": tf.gather(tf.constant(self.labels), best),
            "score": tf.reduce_max(probabilities, -1),
        }

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels}
