"""Segmentation of images."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.losses import SoftDice
from tf_mtl.tasks._dense_task import DenseTask
from tf_mtl.tasks._head_arguments import class_names

IGNORED = 255
_LOSSES = {
    "crossentropy": lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
    "dice": lambda: SoftDice(ignore_class=IGNORED),
    "both": lambda: SoftDice(crossentropy=1.0, ignore_class=IGNORED),
}


@keras.saving.register_keras_serializable("tf_mtl")
class Segmentation(DenseTask):
    """One of C classes for each pixel: logits [B, H, W, C] at the size of the model's image.

    `DenseTask` says which features the head reads. Labels are class indices, [B, H, W] or [B, H, W, 1]; 255 where a
    label is missing. Label weights are [B] for images or [B, H, W] for pixels. Metrics: `accuracy` of pixels and
    `mean_iou`, the mean over the classes that occur among labels or predictions. Decoded: `classes`, the index of each
    pixel's class, int32 [B, H, W], and `fractions`, the part of the model's image that each class takes, [B, C]; both
    cover what surrounds a letterboxed image, too.

    Args:
        name: The task's name.
        labels: The names of the classes, or their number.
        image_size: Height and width of the model's images.
        loss: "crossentropy" per pixel, "dice" for `tf_mtl.losses.SoftDice`, or "both", their sum for each image.
        per_class: Whether to add the metric `iou_<class>` for each class.
        **kwargs: See `DenseTask` and `Task`.

    Raises:
        ValueError: for fewer than two classes, duplicate names, more classes than 255, or another loss.

    Example:

    >>> task = mtl.tasks.Segmentation("parts", labels=["ground", "item"], image_size=(1, 2))
    >>> answer = task.decode(np.array([[[[1.0, 0.0], [0.0, 1.0]]]]))
    >>> answer["classes"].numpy().tolist(), answer["fractions"].numpy().tolist()
    ([[[0, 1]]], [[0.5, 0.5]])
    """

    outside = float(IGNORED)

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        image_size: Sequence[int],
        loss: str = "crossentropy",
        per_class: bool = False,
        **kwargs: Any,
    ):
        super().__init__(name, image_size, **kwargs)
        self.labels = class_names(name, labels)
        if len(self.labels) > IGNORED:
            raise ValueError(
                f"`labels` of task '{name}' must be at most {IGNORED} classes, since the index {IGNORED} means that a "
                f"label is missing; received {len(self.labels)}."
            )
        if loss not in _LOSSES:
            raise ValueError(f"`loss` of task '{name}' must be one of {list(_LOSSES)}, received {loss!r}.")
        self._loss = loss
        self.per_class = bool(per_class)

    @property
    def output_units(self) -> int:
        """The number of classes."""
        return len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """The loss that `loss` names."""
        return _LOSSES[self._loss]()

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return the accuracy of pixels, the mean IoU, and with `per_class` the IoU of each class."""
        number, sparse = len(self.labels), {"sparse_y_true": True, "sparse_y_pred": False, "dtype": "float32"}
        of_classes = [
            keras.metrics.IoU(number, [index], name=f"iou_{label}", **sparse) for index, label in enumerate(self.labels)
        ]
        return [
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.MeanIoU(number, name="mean_iou", **sparse),
            *(of_classes if self.per_class else []),
        ]

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `classes` [B, H, W] and `fractions` [B, C]."""
        classes = tf.argmax(output, -1, tf.int32)
        fractions = tf.reduce_mean(tf.one_hot(classes, len(self.labels)), [1, 2])
        return {"classes": classes, "fractions": fractions}

    def encode_image_labels(self, record: Any, image: Any) -> tf.Tensor:
        """Return the class indices [H, W], int32; see `DenseTask`."""
        return tf.cast(super().encode_image_labels(record, image), tf.int32)

    def probabilities(self, output: keras.KerasTensor) -> keras.KerasTensor:
        """Return the symbolic probabilities."""
        return keras.layers.Softmax(dtype="float32", name=f"{self.name}_probabilities")(output)

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the cross-entropy with the teacher's probabilities, one value per pixel, or per image for Dice's."""
        loss = tf.nn.softmax_cross_entropy_with_logits(tf.nn.softmax(target), output)
        return loss if self._loss == "crossentropy" else tf.reduce_mean(loss, [1, 2])

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "labels": self.labels, "loss": self._loss, "per_class": self.per_class}
