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
    Decoded: `label`, the class' name, and `score`, its probability; both [B]. With `top_k` also `top_labels` and
    `top_scores`, [B, k], the likeliest first.

    Args:
        name: The task's name.
        labels: The classes' names, or their number.
        top_k: How many of the likeliest classes are decoded; none by default.
        **kwargs: `features`, `hidden_units`, `dropout`; see `Task`.

    Raises:
        ValueError: for fewer than two classes, a name that occurs twice, or more likeliest classes than there are.

    Example:

    >>> task = mtl.tasks.Classification("topic", labels=["news", "sport"])
    >>> task.decode(np.array([[0.0, 2.0]]))["label"].numpy().tolist()
    [b'sport']
    """

    def __init__(self, name: str, labels: Sequence[str] | int, top_k: int | None = None, **kwargs):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels)
        if top_k is not None and not 1 <= top_k <= len(self.labels):
            raise ValueError(f"`top_k` of task '{name}' must be from 1 to {len(self.labels)}, received {top_k}.")
        self.top_k = top_k

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
        """Return `label` [B] (string) and `score` [B] from logits [B, C], and the likeliest if `top_k` is set."""
        probabilities = tf.nn.softmax(tf.cast(output, tf.float32))
        labels = tf.constant(self.labels)
        found = {
            "label": tf.gather(labels, tf.argmax(probabilities, -1)),
            "score": tf.reduce_max(probabilities, -1),
        }
        if self.top_k is not None:
            scores, places = tf.math.top_k(probabilities, self.top_k)
            found |= {"top_labels": tf.gather(labels, places), "top_scores": scores}
        return found

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy of two models' logits [B, C], one value per row."""
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "top_k": self.top_k}
