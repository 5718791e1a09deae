"""Classification into several classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.metrics import MacroF1
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._crossentropy import Crossentropy
from tf_mtl.tasks._head_arguments import class_names


@keras.saving.register_keras_serializable("tf_mtl")
class Classification(Task):
    """One of C classes: logits [B, C] from a feature vector, with sparse categorical cross-entropy.

    Labels are class indices from 0 to C - 1, or the classes' names, [B] or [B, 1]. Metrics: `accuracy`, `macro_f1`.
    Decoded: `label`, the name of the predicted class, and `score`, its probability; both [B]. With `top_k` also
    `top_labels` and `top_scores`, [B, k], in order of decreasing probability.

    Args:
        name: The task's name.
        labels: The names of the classes, or their number.
        top_k: The number of most probable classes to decode in addition; None for none.
        class_weights: `{label: factor}`, by which the loss of a row with this label is multiplied; 1 for labels that
            are not named. `tf_mtl.data.balanced_class_weights` computes them from data.
        label_smoothing: The probability that the loss spreads evenly over all classes.
        focal: The exponent gamma of the focal loss, which gives rows that are easy little weight; 2 in the paper
            (Lin et al., ICCV 2017). 0 for the cross-entropy.
        **kwargs: See `Task`.

    Raises:
        ValueError: for fewer than two classes, duplicate names, `top_k` that is not from 1 to the number of classes,
            weights of unknown labels, numbers out of range, or label smoothing with the focal loss.

    Example:

    >>> task = mtl.tasks.Classification("topic", labels=["news", "sport"])
    >>> task.decode(np.array([[0.0, 2.0]]))["label"].numpy().tolist()
    [b'sport']
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        top_k: int | None = None,
        class_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels)
        self.top_k = integer("top_k", top_k, 1, none=True)
        if top_k is not None and top_k > len(self.labels):
            raise ValueError(f"`top_k` of task '{name}' must be from 1 to {len(self.labels)}, received {top_k}.")
        self._crossentropy = Crossentropy(name, self.labels, class_weights, label_smoothing, focal)

    @property
    def output_units(self) -> int:
        """The number of classes."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """Sparse categorical cross-entropy from logits, with the options set."""
        return self._crossentropy.loss()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return accuracy and macro-F1."""
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy"), MacroF1(len(self.labels))]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `label` [B] (string) and `score` [B] from logits [B, C], and the `top_k` classes if it is set."""
        probabilities = tf.nn.softmax(tf.cast(output, tf.float32))
        labels = tf.constant(self.labels)
        answer = {
            "label": tf.gather(labels, tf.argmax(probabilities, -1)),
            "score": tf.reduce_max(probabilities, -1),
        }
        if self.top_k is not None:
            scores, indices = tf.math.top_k(probabilities, self.top_k)
            answer |= {"top_labels": tf.gather(labels, indices), "top_scores": scores}
        return answer

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities."""
        return keras.layers.Softmax(dtype="float32", name=f"{self.name}_probabilities")(output)

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per row."""
        return tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "top_k": self.top_k, **self._crossentropy.config}
