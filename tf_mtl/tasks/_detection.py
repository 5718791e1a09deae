"""Detection of objects in images."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._arguments import in_range, integer
from tf_mtl._boxes import PADDING, XYXY, checked_format, checked_image_size, from_xyxy
from tf_mtl._keys import after_key
from tf_mtl._pyramid import checked_levels, map_size
from tf_mtl.images import LocatedImages
from tf_mtl.layers._join_features import JoinFeatures
from tf_mtl.layers._join_levels import JoinLevels
from tf_mtl.losses import BoxLoss, DetectionLoss
from tf_mtl.metrics import MeanAveragePrecision
from tf_mtl.tasks._base import Task
from tf_mtl.tasks._head_arguments import class_names
from tf_mtl.tasks._image_labels import class_index, file_of, image_field

_IMAGES = 10_000  # of an evaluation
_PRIOR = 0.01  # the probability of each class before training (Lin et al., "Focal loss", ICCV 2017)


@keras.saving.register_keras_serializable("tf_mtl")
class Detection(Task):
    r"""Boxes of C classes of objects, without anchors, over a feature pyramid: [B, A, 4 + C].

    At each of the A positions of the pyramid's levels, the output has a box in pixels, (left, top, right, bottom), and
    the logits of the classes. Two towers of 3x3 convolutions, one for boxes and one for classes, are shared by all
    levels. The encoder gives the levels, as `tf_mtl.encoders.FeaturePyramid` does; the `map` of an encoder without
    levels stands for the level of its size.

    Labels are [B, M, 5], a box and its class, padded with the class -1. A box of the class -2 - c marks a crowd of
    class c, in which detections are neither right nor wrong. Label weights are [B] for images or [B, M] for boxes; an
    image without boxes has only padding. The loss is `tf_mtl.losses.DetectionLoss`. Metrics, in evaluation only: `map`,
    `map50` and `map75` of COCO, for up to 10,000 images; for more, pass `compile(metrics=)` a
    `tf_mtl.metrics.MeanAveragePrecision` with a higher `limit`.

    Decoded, in the order of decreasing scores, N = `most` of each: `boxes` [B, N, 4], clipped to the image, `labels`
    and `scores` [B, N]; 0, "" and 0 after the last detection. Of boxes of one class that overlap by more than
    `iou_threshold`, the best remains. With the raw images (see `tf_mtl.images.ImagePreprocessor`) `original_boxes` are
    in the pixels of each image before it was resized.

    Args:
        name: The task's name.
        labels: The names of the classes, or their number.
        image_size: Height and width of the model's images.
        levels: The levels of the pyramid, "P3" for the map of stride 8.
        box_format: The format of the labels' boxes, as in `keras.utils.bounding_boxes`.
        box_loss: The kind of `tf_mtl.losses.BoxLoss`.
        hidden_units: The channels of each tower's convolutions.
        threshold: The smallest score of a detection.
        iou_threshold: The largest overlap of two detections of one class.
        most: The largest number N of detections in an answer, and of labelled boxes in an image.
        **kwargs: See `Task`.

    Raises:
        ValueError: for no class, duplicate names, an unknown level, format or loss, or numbers out of range.

    Reference: Tian et al., "FCOS: fully convolutional one-stage object detection", ICCV 2019.

    Example:

    >>> task = mtl.tasks.Detection("cells", labels=["red", "white"], image_size=(64, 64), levels=["P5"], most=2)
    >>> output = np.array([[[4.0, 4.0, 30.0, 28.0, -9.0, 3.0], *3 * [[0.0, 0.0, 9.0, 9.0, -9.0, -9.0]]]])
    >>> answer = task.decode(output)
    >>> answer["labels"].numpy().tolist(), answer["boxes"][0, 0].numpy().tolist()
    ([[b'white', b'']], [4.0, 4.0, 30.0, 28.0])
    """

    locates_in = LocatedImages
    reads_all_positions = False  # few of them are detections

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        image_size: Sequence[int],
        levels: Sequence[str] = ("P3", "P4", "P5"),
        box_format: str = XYXY,
        box_loss: str = "giou",
        hidden_units: int | Sequence[int] = (64, 64),
        threshold: float = 0.05,
        iou_threshold: float = 0.6,
        most: int = 100,
        **kwargs: Any,
    ):
        self.levels = checked_levels(name, levels)
        super().__init__(name, hidden_units=_as_list(hidden_units), **{"features": self.levels[0], **kwargs})
        self.labels = class_names(name, labels, least=1)
        self.image_size = checked_image_size(image_size)
        self.box_format = checked_format("box_format", box_format)
        self.box_loss = box_loss
        self.threshold = in_range("threshold", threshold, 0, 1)
        self.iou_threshold = in_range("iou_threshold", iou_threshold, 0, 1)
        self.most = integer("most", most, 1)
        self.loss  # noqa: B018  checks `box_loss`

    @property
    def output_units(self) -> int:
        """The size of the output's last axis, 4 + C."""
        return 4 + len(self.labels)

    @property
    def loss(self) -> keras.losses.Loss:
        """The loss of boxes and classes."""
        return DetectionLoss(self.levels, self.image_size, self.box_loss, self.box_format)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return no metrics: those of `answer_metrics` would slow down training."""
        return []

    def answer_metrics(self) -> list[keras.metrics.Metric]:
        """Return COCO's mean average precision."""
        return [MeanAveragePrecision(self.labels, self.box_format, self.image_size, limit=_IMAGES * self.most)]

    def head(self, features: Mapping[str, keras.KerasTensor]) -> keras.KerasTensor:
        """Return the task's symbolic output.

        Raises:
            ValueError: if the encoder does not return the levels, or in another size.
        """
        features = dict(features)
        has_levels = any(level in features for level in self.levels)
        for level in self.levels:
            expected = map_size(level, self.image_size)
            if not has_levels and "map" in features and tuple(features["map"].shape[1:3]) == expected:
                features[level] = features["map"]
            if level not in features:
                raise ValueError(
                    f"Task '{self.name}' reads the levels {self.levels}, but the encoder gives {sorted(features)}. Use "
                    "encoders.FeaturePyramid, or set `levels`."
                )
            if tuple(features[level].shape[1:3]) != expected:
                raise ValueError(
                    f"Task '{self.name}' has images of size {self.image_size}, of which features['{level}'] must have "
                    f"the size {expected}, received {tuple(features[level].shape[1:3])}. Set `image_size` to height "
                    "and width of the model's input."
                )
        maps = [self._read_level(features, level) for level in self.levels]
        prior = keras.initializers.Constant(np.log(_PRIOR / (1 - _PRIOR)))
        boxes = self._tower("boxes", maps, 4, "zeros")
        logits = self._tower("classes", maps, len(self.labels), prior)
        joined = [
            keras.layers.Concatenate(dtype="float32", name=f"{self.name}_{level}")(pair)
            for level, *pair in zip(self.levels, boxes, logits, strict=True)
        ]
        return JoinLevels(self.levels, self.image_size, name=self.name)(joined)

    def _read_level(self, features, level):
        x = features[level]
        if self.after:
            others = [features[after_key(task)] for task in self.after]
            x = JoinFeatures(name=f"{self.name}_{level}_joined")([x, *others])
        if self.dropout:
            x = keras.layers.Dropout(self.dropout, name=f"{self.name}_{level}_dropout")(x)
        return x

    def _tower(self, part, maps, units, bias):
        """The outputs of all levels, from the same convolutions."""
        for number, channels in enumerate(self.hidden_units or [], 1):
            name = f"{self.name}_{part}_{number}"
            layers = [
                self._convolution(channels, name, use_bias=False),
                keras.layers.GroupNormalization(_groups(channels), name=f"{name}_norm"),
                keras.layers.ReLU(name=f"{name}_relu"),
            ]
            for layer in layers:
                maps = [layer(x) for x in maps]
        last = self._convolution(units, f"{self.name}_{part}", bias_initializer=bias, dtype="float32")
        return [last(x) for x in maps]

    def _convolution(self, channels, name, **options):
        return keras.layers.Conv2D(
            channels, 3, padding="same", kernel_regularizer=self.kernel_regularizer, name=name, **options
        )

    def readable(self, output: keras.KerasTensor, part: str) -> keras.KerasTensor:
        """Return the output [B, A, 4 + C], for tasks that read it.

        Raises:
            ValueError: for another part.
        """
        if part != "output":
            raise ValueError(
                f"`after` reads the {part} of task '{self.name}', which is not supported: its towers have maps of "
                f"several sizes. Read {{'{self.name}': 'output'}}."
            )
        return output

    def predictions(self, output: tf.Tensor) -> tf.Tensor:
        """Return detections [B, N, 6], each a box, its class and its score; class -1 is padding."""
        height, width = self.image_size
        output = tf.cast(output, tf.float32)
        boxes = tf.clip_by_value(output[..., :4], 0.0, tf.constant([width, height, width, height], tf.float32))
        found = tf.image.combined_non_max_suppression(
            boxes[:, :, None],
            tf.sigmoid(output[..., 4:]),
            self.most,
            self.most,
            self.iou_threshold,
            self.threshold,
            clip_boxes=False,
        )
        is_padding = tf.range(self.most) >= found.valid_detections[:, None]
        classes = tf.where(is_padding, float(PADDING), found.nmsed_classes)
        return tf.concat([found.nmsed_boxes, classes[..., None], found.nmsed_scores[..., None]], 2)

    def decode(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `boxes` [B, N, 4], `labels` [B, N] and `scores` [B, N]."""
        detections = self.predictions(output)
        classes = tf.cast(detections[..., 4], tf.int32)
        labels = tf.gather(tf.constant([*self.labels, ""]), tf.where(classes < 0, len(self.labels), classes))
        return {
            "boxes": detections[..., :4],
            "labels": labels,
            "scores": detections[..., 5],
        }

    def encode_image_labels(self, record: Mapping[str, tf.Tensor], image: LocatedImages) -> tf.Tensor:
        """Return labels [`most`, 5] from the record's `boxes` [M, 4] and `labels` [M], and `crowds` [M] if it has them.

        Boxes are "xyxy" in the original image's pixels.

        Raises:
            ValueError: if the record lacks a field.
        """
        boxes, names = (image_field(self.name, record, field) for field in ("boxes", "labels"))
        file = file_of(record)
        is_string = names.dtype == tf.string
        classes = class_index(self.name, self.labels, names, file) if is_string else tf.cast(names, tf.int32)
        if "crowds" in record:
            classes = tf.where(record["crowds"], -2 - classes, classes)
        boxes = from_xyxy(image.model_boxes(tf.cast(boxes, tf.float32)[None])[0], self.box_format, self.image_size)
        rows = tf.concat([boxes, tf.cast(classes, tf.float32)[:, None]], 1)
        rule = (
            f"An image has more labelled boxes than `most` of task '{self.name}', {self.most}: raise it. The picture:"
        )
        with tf.control_dependencies([tf.debugging.Assert(tf.shape(rows)[0] <= self.most, [rule, file])]):
            missing = self.most - tf.shape(rows)[0]
        rows = tf.pad(rows, [[0, missing], [0, 0]], constant_values=float(PADDING))
        return tf.ensure_shape(rows, [self.most, 5])

    def locate(self, answer: Mapping[str, tf.Tensor], located: LocatedImages) -> dict[str, tf.Tensor]:
        """Return `original_boxes` [B, N, 4]."""
        return {"original_boxes": located.original_boxes(answer["boxes"])}

    def distillation_loss(self, target: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """Return the loss of classes and boxes with the teacher's as labels, weighted by its scores, one per image."""
        scores = tf.sigmoid(target[..., 4:])
        crossentropy = tf.nn.sigmoid_cross_entropy_with_logits(scores, output[..., 4:])
        best = tf.reduce_max(scores, -1)
        boxes = best * BoxLoss(self.box_loss).call(target[..., :4], output[..., :4])
        total = tf.reduce_sum(tf.reduce_sum(crossentropy, -1) + boxes, 1)
        return total / tf.maximum(tf.reduce_sum(best, 1), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {
            **super().get_config(),
            "labels": self.labels,
            "image_size": self.image_size,
            "levels": self.levels,
            "box_format": self.box_format,
            "box_loss": self.box_loss,
            "threshold": self.threshold,
            "iou_threshold": self.iou_threshold,
            "most": self.most,
        }


def _as_list(units: int | Sequence[int] | None) -> Any:
    return [units] if isinstance(units, int) else list(units or [])


def _groups(channels: int) -> int:
    """The number of groups of a normalisation: the largest power of two up to 16 that leaves four channels or more."""
    groups = 16
    while channels % groups or channels // groups < 4:
        groups //= 2
        if groups == 1:
            break
    return groups
