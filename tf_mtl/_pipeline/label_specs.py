"""What each kind of loss demands of a task's labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._assertions import assert_none
from tf_mtl._boxes import PADDING, to_xyxy
from tf_mtl._pipeline.labels import LabelSpec
from tf_mtl._shapes import match_rank, mixes_rows, needs_output_rank
from tf_mtl.layers._mask_scores import MASKED
from tf_mtl.losses import (
    BatchLoss,
    CellwiseBinaryCrossentropy,
    CellwisePoisson,
    ClassCrossentropy,
    ConversionCrossentropy,
    CosineDistance,
    CRFNegativeLogLikelihood,
    DependencyCrossentropy,
    DepthLoss,
    DetectionLoss,
    InBatchSoftmax,
    ListLoss,
    OrdinalCrossentropy,
    PointDistance,
    RelationLoss,
    SigmoidFocal,
    SoftDice,
    SpanCrossentropy,
)
from tf_mtl.losses._cellwise_errors import CellwiseError

_EDGE = 1e-2  # pixels: rounding errors of resized boxes
_UNIT_RANGE = ("binary_crossentropy", "categorical_crossentropy")
_LABELS_OF_OTHER_SHAPE = ("ctc", "circle")
_OVER_LAST_AXIS = ("categorical_", "cosine_similarity", "kl_divergence", "dice", "tversky")


def label_spec(
    task: str,
    loss: keras.losses.Loss | None,
    output: keras.KerasTensor,
    has_metrics: bool,
    names: tuple[str, ...] = (),
    lists: bool = False,
) -> LabelSpec:
    """Return what a task's loss and its symbolic output demand of its labels.

    Args:
        task: The task's name.
        loss: Its loss; None if only metrics read the labels.
        output: Its symbolic output.
        has_metrics: Whether it has metrics.
        names: The names of its classes.
        lists: Whether a label may be a list of names.
    """
    if loss is None:
        return LabelSpec(task, counts=has_metrics)
    if isinstance(loss, InBatchSoftmax):
        high = None if loss.probabilities is None else len(loss.probabilities) - 1
        return LabelSpec(task, (), high, output_rank=False)
    if isinstance(loss, BatchLoss):
        return LabelSpec(task, output_rank=False)
    if isinstance(loss, (CellwiseBinaryCrossentropy, SigmoidFocal)):
        return LabelSpec(task, tuple(output.shape[1:]), 1.0, names=names if lists else (), lists=lists)
    if isinstance(loss, RelationLoss):  # the output holds a tag as well
        return LabelSpec(task, (*output.shape[1:-1], output.shape[-1] - 1), 1.0)
    if isinstance(loss, ConversionCrossentropy):
        return LabelSpec(task, (), 1.0)
    if isinstance(loss, CellwisePoisson):
        return LabelSpec(task, tuple(output.shape[1:]), float("inf"))
    if isinstance(loss, ListLoss):
        return LabelSpec(task, tuple(output.shape[1:]), float("inf"), ignored=loss.ignore_class)
    if isinstance(loss, CellwiseError):
        return LabelSpec(task, tuple(output.shape[1:]))
    if isinstance(loss, ClassCrossentropy):
        return LabelSpec(task, tuple(output.shape[1:-1]), output.shape[-1] - 1, True, names=names)
    if isinstance(loss, SpanCrossentropy):
        return SpanSpec(task, (2,), None if output.shape[1] is None else output.shape[1] - 1, output_rank=False)
    if isinstance(loss, CRFNegativeLogLikelihood):  # the output holds transition scores as well
        return LabelSpec(task, (None,), output.shape[-1] - 1, True, names=names)
    if isinstance(loss, OrdinalCrossentropy):
        return LabelSpec(task, tuple(output.shape[1:-1]), output.shape[-1], True, names=names)
    if isinstance(loss, SoftDice):
        return LabelSpec(task, tuple(output.shape[1:-1]), output.shape[-1] - 1, True, loss.ignore_class, names=names)
    if isinstance(loss, DepthLoss):
        return LabelSpec(task, tuple(output.shape[1:]))
    if isinstance(loss, (CosineDistance, PointDistance)):
        return VectorSpec(task, tuple(output.shape[1:]), output_rank=False)
    if isinstance(loss, DetectionLoss):
        return BoxSpec(task, (None, 5), output_rank=False, loss=loss, classes_count=output.shape[-1] - 4)
    if isinstance(loss, DependencyCrossentropy):
        return ArcSpec(task, (None, 2), relations=output.shape[-1] - 1)
    function = getattr(loss, "fn", None)
    kind = getattr(function, "__name__", None)
    if kind in _LABELS_OF_OTHER_SHAPE:
        return LabelSpec(task, output_rank=False)
    if function is None:
        aligned, mixes = needs_output_rank(loss.call, output.shape), mixes_rows(loss.call, output.shape)
        return LabelSpec(task, output_rank=aligned, mixes_rows=mixes)
    if not getattr(function, "__module__", "").startswith("keras."):
        return LabelSpec(task, mixes_rows=mixes_rows(function, output.shape))
    if kind == "sparse_categorical_crossentropy":
        ignored = getattr(loss, "ignore_class", None)
        return LabelSpec(task, tuple(output.shape[1:-1]), output.shape[-1] - 1, True, ignored, names=names)
    is_over_last_axis = len(output.shape) > 2 and str(kind).startswith(_OVER_LAST_AXIS)
    largest = 1.0 if kind in _UNIT_RANGE else None
    return LabelSpec(task, tuple(output.shape[1:]), largest, output_rank=not is_over_last_axis)


@dataclass(frozen=True)
class ArcSpec(LabelSpec):
    """What the loss of dependency trees demands: a head and a relation for each word, [B, W, 2].

    Attributes:
        relations: The number of relations.
    """

    relations: int = 1

    @property
    def integers(self) -> bool:
        """True: heads and relations are integers."""
        return True

    def largest(self, shape: Sequence[Any]) -> tuple[Any, int]:
        """Return the largest head and the largest relation."""
        return shape[-2], self.relations - 1

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what heads and relations must be."""
        return (
            f"be (head, relation), integers from 0 to {shape[-2]}, the length of the sequence, and from 0 to "
            f"{self.relations - 1},"
        )

    def check_weight_shape(self, shape: tf.TensorShape, weight_shape: tf.TensorShape) -> None:
        """Raise if label weights have more axes than words.

        Raises:
            ValueError: naming the shapes.
        """
        super().check_weight_shape(shape[:-1], weight_shape)

    def assertions(
        self, y: tf.Tensor, weight: tf.Tensor | None, output: tf.Tensor, valid_mask: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Return an op that fails where a head is no word of its own sentence."""
        if weight is None or valid_mask is None:
            return []
        heads = tf.cast(y[..., 0], tf.int32)
        is_head = tf.pad(valid_mask, [[0, 0], [1, 0]], constant_values=True)
        is_wrong = ~tf.gather(is_head, tf.clip_by_value(heads, 0, tf.shape(valid_mask)[1]), batch_dims=1)
        rule = (
            f"`y['{self.task}']` must hold heads that are words of their own sentence, or 0 for the root, where its "
            "weight is not 0. Correct the heads, or give words whose heads are lost, as in truncated sentences, the "
            "weight 0."
        )
        return [assert_none(is_wrong & (match_rank(weight, 2) > 0), heads, rule)]


@dataclass(frozen=True)
class SpanSpec(LabelSpec):
    """What the loss of one span per row demands: its first and its last word, [B, 2]."""

    @property
    def integers(self) -> bool:
        """True: words are counted."""
        return True

    def largest(self, shape: Sequence[Any]) -> Any:
        """Return the number of words; infinity where the output's length is unknown."""
        return float("inf") if self.high is None else self.high

    def allows(self, y: Any, shape: Sequence[Any]) -> Any:
        """Return where words are counted, the first word is not after the last one, and both or neither are 0."""
        first, last = y[..., :1], y[..., 1:]
        return super().allows(y, shape) & (first <= last) & ((first == 0) == (last == 0))

    def assertions(
        self, y: tf.Tensor, weight: tf.Tensor | None, output: tf.Tensor, valid_mask: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Return an op that fails where a word is not one of its own text, or no answer is not allowed."""
        words = tf.clip_by_value(tf.cast(y, tf.int32), 0, tf.shape(output)[1] - 1)
        is_wrong = tf.gather(output[..., 0], words, batch_dims=1) <= MASKED / 2
        if weight is not None:
            is_wrong &= match_rank(weight, 2) > 0
        rule = (
            f"`y['{self.task}']` must hold the first and the last word of a span in its own text, counted from 1, or "
            "(0, 0) for no answer if the task has no_answer=True, where its weight is not 0."
        )
        return [assert_none(is_wrong, words, rule)]

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what spans must be."""
        words = "" if self.high is None else f" from 0 to {self.high}"
        return f"be (first word, last word), integers{words}, counted from 1, or (0, 0) for no answer,"


@dataclass(frozen=True)
class VectorSpec(LabelSpec):
    """What losses of vectors demand, with one value for each, [B, ..., D]."""

    def check_weight_shape(self, shape: tf.TensorShape, weight_shape: tf.TensorShape) -> None:
        """Raise if label weights have more axes than vectors.

        Raises:
            ValueError: naming the shapes.
        """
        super().check_weight_shape(shape[:-1], weight_shape)


@dataclass(frozen=True)
class BoxSpec(LabelSpec):
    """What the loss of detections demands: boxes inside the image, each with a class, [B, M, 5].

    Attributes:
        loss: The loss, which knows the format of the boxes and the size of the image.
        classes_count: The number of classes.
    """

    loss: Any = None
    classes_count: int = 1

    @property
    def variant(self) -> tuple[Any, ...]:
        """The format of the boxes."""
        return (self.loss.format,)

    def largest(self, shape: Sequence[Any]) -> tuple[float, ...]:
        """Return the largest box and class."""
        height, width = self.loss.image_size
        return width, height, width, height, self.classes_count - 1

    def allows(self, y: Any, shape: Sequence[Any]) -> Any:
        """Return where a box has an area and is inside the image, and where the class is one."""
        height, width = self.loss.image_size
        boxes, classes = to_xyxy(y[..., :4], self.loss.format, self.loss.image_size), y[..., 4:]
        boxes = boxes.numpy() if isinstance(y, np.ndarray) and isinstance(boxes, tf.Tensor) else boxes
        left, top, right, bottom = (boxes[..., index : index + 1] for index in range(4))
        inside = (left >= -_EDGE) & (top >= -_EDGE) & (right <= width + _EDGE) & (bottom <= height + _EDGE)
        has_area = (right > left) & (bottom > top)
        is_class = (classes % 1 == 0) & (classes < self.classes_count) & (classes >= PADDING - self.classes_count)
        return is_class & ((inside & has_area) | (classes == PADDING)) & (y == y)

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what boxes and classes must be."""
        height, width = self.loss.image_size
        return (
            f"hold boxes in the format '{self.loss.format}' with an area, inside images {height} high and {width} "
            f"wide, each followed by its class from 0 to {self.classes_count - 1}, by -1 for padding (as "
            "data.encode_images pads them), or by -2 - class for a crowd,"
        )

    def check_weight_shape(self, shape: tf.TensorShape, weight_shape: tf.TensorShape) -> None:
        """Raise if label weights have more axes than boxes.

        Raises:
            ValueError: naming the shapes.
        """
        super().check_weight_shape(shape[:-1], weight_shape)
