"""Multi-label classification."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.losses import CellwiseBinaryCrossentropy
from tf_mtl.metrics import MultiLabelF1
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._binary_crossentropy import BinaryCrossentropy
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords, encode_lists


@keras.saving.register_keras_serializable("tf_mtl")
class MultiLabel(Task):
    """Any subset of C labels: logits [B, C] from a feature vector, with binary cross-entropy per cell.

    Labels are 0 or 1, [B, C], or lists of names: a `tf.RaggedTensor`, strings [B, n], or an array of lists. Empty names
    are ignored, and an empty list means that no label applies. Label weights are [B] for rows, or [B, C] if single
    labels are missing. Metrics: `micro_f1`, `macro_f1`. Decoded: `labels`, the names of the predicted labels, "" for
    the others, and `scores`, the probabilities of all labels; both [B, C].

    Args:
        name: The task's name.
        labels: The names of the labels, or their number.
        threshold: The smallest probability for which a label is predicted.
        pos_weight: The factor of positive cells in the loss: one number, or one for each label.
        label_smoothing: How far labels are moved towards 1/2 in the loss: 0.1 makes 0.05 and 0.95 of 0 and 1.
        focal: The exponent gamma of the focal loss, which gives cells that are easy little weight; 2 in the paper
            (Lin et al., ICCV 2017). 0 for the cross-entropy.
        **kwargs: See `Task`.

    Raises:
        ValueError: for no labels, duplicate names, numbers out of range, or `focal` combined with another option of the
            loss.

    Example:

    >>> task = mtl.tasks.MultiLabel("tags", labels=["new", "used"])
    >>> task.decode(np.array([[1.0, -1.0]]))["labels"].numpy().tolist()
    [[b'new', b'']]
    """

    labels_are_lists = True

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        threshold: float = 0.5,
        pos_weight: float | list[float] = 1.0,
        label_smoothing: float = 0.0,
        focal: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(name, **kwargs)
        self.labels = class_names(name, labels, least=1)
        self.threshold = in_range("threshold", threshold, 0, 1)
        self._crossentropy = BinaryCrossentropy(name, pos_weight, label_smoothing, focal)

    @property
    def output_units(self) -> int:
        """The number of labels."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """Binary cross-entropy from logits, one value per cell, with the options set."""
        return self._crossentropy.loss(plain=CellwiseBinaryCrossentropy())

    def encode_labels(self, labels: tf.Tensor | tf.RaggedTensor, records: TextRecords) -> EncodedLabels:
        """Return a cell for each class, of lists of names or of cells."""
        if labels.dtype == tf.string:
            return encode_lists(self.name, self.labels, labels, records)
        return super().encode_labels(labels, records)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return F1 over all cells, and the mean F1 of the labels."""
        return [MultiLabelF1(len(self.labels), average, self.threshold) for average in ("micro", "macro")]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `labels` [B, C] (string) and `scores` [B, C] from logits [B, C]."""
        scores = tf.sigmoid(tf.cast(output, tf.float32))
        return {"labels": tf.where(scores >= self.threshold, tf.constant(self.labels), ""), "scores": scores}

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities."""
        return keras.layers.Activation("sigmoid", dtype="float32", name=f"{self.name}_probabilities")(output)

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per cell."""
        return self.loss.call(tf.sigmoid(target), output)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "threshold": self.threshold,
            **self._crossentropy.config,
        }
