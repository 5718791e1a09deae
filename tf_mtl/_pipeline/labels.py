"""What the labels of a task must look like, and the check of a batch against that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl._pipeline.assertions import assert_none
from tf_mtl._shapes import match_rank, mixes_rows, needs_output_rank
from tf_mtl.losses import (
    BatchLoss,
    CellwiseBinaryCrossentropy,
    CellwisePoisson,
    ClassCrossentropy,
    CRFNegativeLogLikelihood,
    DependencyCrossentropy,
    InBatchSoftmax,
    ListLoss,
    OrdinalCrossentropy,
    RelationLoss,
    SigmoidFocal,
    SpanCrossentropy,
)
from tf_mtl.losses._cellwise_errors import CellwiseError

_UNIT_RANGE = ("binary_crossentropy", "categorical_crossentropy")
_LABELS_OF_OTHER_SHAPE = ("ctc", "circle")
_OVER_LAST_AXIS = ("categorical_", "cosine_similarity", "kl_divergence", "dice", "tversky")


@dataclass(frozen=True)
class LabelSpec:
    """What a loss and an output demand of a task's labels.

    Attributes:
        task: The task's name.
        shape: The labels' shape without the batch; None where only the loss knows.
        high: Labels lie in [0, high]; None for any number.
        classes: Whether labels are class indices, integers from 0 to `high`.
        ignored: A class index that means "no label"; None if there is none.
        counts: Whether a loss or a metric reads the labels.
        mixes_rows: Whether the loss compares the rows of a batch.
        output_rank: Whether the loss is called with labels of the output's rank, where these lack its last axis or
            have one more, of size 1.
        names: The names of the classes, which labels may be in place of numbers; empty if there are none.
        lists: Whether a label is a list of names, which means a cell per class.
    """

    task: str
    shape: tuple[int | None, ...] | None = None
    high: float | None = None
    classes: bool = False
    ignored: int | None = None
    counts: bool = True
    mixes_rows: bool = False
    output_rank: bool = True
    names: tuple[str, ...] = ()
    lists: bool = False

    @classmethod
    def of(
        cls,
        task: str,
        loss: keras.losses.Loss | None,
        output: keras.KerasTensor,
        has_metrics: bool,
        names: tuple[str, ...] = (),
        lists: bool = False,
    ) -> "LabelSpec":
        """Read the demands off a task's loss, its symbolic output and the names of its classes."""
        if loss is None:
            return cls(task, counts=has_metrics)
        if isinstance(loss, InBatchSoftmax):
            return cls(task, (), output_rank=False)
        if isinstance(loss, BatchLoss):
            return cls(task, output_rank=False)
        if isinstance(loss, (CellwiseBinaryCrossentropy, SigmoidFocal)):
            return cls(task, tuple(output.shape[1:]), 1.0, names=names if lists else (), lists=lists)
        if isinstance(loss, RelationLoss):  # the output holds a tag as well
            return cls(task, (*output.shape[1:-1], output.shape[-1] - 1), 1.0)
        if isinstance(loss, CellwisePoisson):
            return cls(task, tuple(output.shape[1:]), float("inf"))
        if isinstance(loss, ListLoss):
            return cls(task, tuple(output.shape[1:]), float("inf"), ignored=loss.ignore_class)
        if isinstance(loss, CellwiseError):
            return cls(task, tuple(output.shape[1:]))
        if isinstance(loss, ClassCrossentropy):
            return cls(task, tuple(output.shape[1:-1]), output.shape[-1] - 1, True, names=names)
        if isinstance(loss, SpanCrossentropy):
            return SpanSpec(task, (2,), None if output.shape[1] is None else output.shape[1] - 1, output_rank=False)
        if isinstance(loss, CRFNegativeLogLikelihood):  # the output holds transition scores as well
            return cls(task, (None,), output.shape[-1] - 1, True, names=names)
        if isinstance(loss, OrdinalCrossentropy):
            return cls(task, tuple(output.shape[1:-1]), output.shape[-1], True, names=names)
        if isinstance(loss, DependencyCrossentropy):
            return ArcSpec(task, (None, 2), relations=output.shape[-1] - 1)
        function = getattr(loss, "fn", None)
        kind = getattr(function, "__name__", None)
        if kind in _LABELS_OF_OTHER_SHAPE:
            return cls(task, output_rank=False)
        if function is None:
            aligned, mixes = needs_output_rank(loss.call, output.shape), mixes_rows(loss.call, output.shape)
            return cls(task, output_rank=aligned, mixes_rows=mixes)
        if not getattr(function, "__module__", "").startswith("keras."):
            return cls(task, mixes_rows=mixes_rows(function, output.shape))
        if kind == "sparse_categorical_crossentropy":
            ignored = getattr(loss, "ignore_class", None)
            return cls(task, tuple(output.shape[1:-1]), output.shape[-1] - 1, True, ignored, names=names)
        is_over_last_axis = len(output.shape) > 2 and str(kind).startswith(_OVER_LAST_AXIS)
        high = 1.0 if kind in _UNIT_RANGE else None
        return cls(task, tuple(output.shape[1:]), high, output_rank=not is_over_last_axis)

    @property
    def integers(self) -> bool:
        """Whether labels are integers."""
        return self.classes

    def largest(self, shape: Sequence[Any]) -> Any:
        """Return the largest label allowed; None for any number.

        Args:
            shape: The shape of the labels, batch included, with integers or tensors.
        """
        return self.high

    def consistent(self, y: Any) -> Any:
        """Return where the parts of a label agree, in a shape that broadcasts to that of the labels; by default always.

        Args:
            y: The labels, an array or a tensor.
        """
        return True

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what labels of a shape must be, for messages."""
        return f"be class indices from 0 to {self.high}" if self.classes else f"lie in [0, {self.high:g}]"

    def assertions(self, y: tf.Tensor, weight: tf.Tensor, valid_mask: tf.Tensor) -> list[tf.Tensor]:
        """Return ops that fail where labels break a rule that depends on the output; by default none.

        Args:
            y: The labels.
            weight: Their weights, 0 where the output is masked.
            valid_mask: The positions of the output that are not masked, [B, W].
        """
        return []

    def check_dtype(self, labels: Any) -> None:
        """Raise if labels, an array, tensor or spec, are neither numbers nor names of classes.

        Raises:
            ValueError: naming the remedy.
        """
        if has_strings(labels) and not self.names:
            examples = labels.ravel()[:4].tolist() if isinstance(labels, np.ndarray) else "strings"
            kind = f"class indices from 0 to {self.high}" if self.classes else "numbers"
            raise ValueError(
                f"`y['{self.task}']` must be {kind}, received {examples}. Turn names into indices, for instance with "
                "keras.layers.StringLookup, and give missing labels NaN and the weight 0."
            )

    def shape_of(self, labels: Any) -> tf.TensorShape:
        """Return the shape of labels, an array, tensor or spec, once names have become numbers."""
        if self.lists and has_strings(labels) and self.shape is not None:
            return tf.TensorShape([labels.shape[0], *self.shape])
        return tf.TensorShape(labels.shape)

    def check_shape(self, shape: tf.TensorShape) -> None:
        """Raise if labels of this shape, batch included, do not fit the output.

        Raises:
            ValueError: naming the shapes.
        """
        if self.shape is None or shape.rank is None:
            return
        expected = tf.TensorShape([None, *self.shape])
        fits = shape.is_compatible_with(expected) or shape.is_compatible_with(expected + [1])
        if self.shape[-1:] == (1,):
            fits = fits or shape.is_compatible_with(expected[:-1])
        if not fits:
            kind = "class indices" if self.classes else "labels"
            raise ValueError(
                f"`y['{self.task}']` has shape {shape}, but the task's output and loss need {kind} of shape "
                f"{expected}. Reshape the labels, or change the task's output or loss."
            )

    def check_weight_shape(self, shape: tf.TensorShape, weight_shape: tf.TensorShape) -> None:
        """Raise if label weights have more axes than the labels, but for axes of size 1.

        Raises:
            ValueError: naming the shapes.
        """
        if None not in (shape.rank, weight_shape.rank) and any(size != 1 for size in weight_shape[shape.rank :]):
            raise ValueError(
                f"`sample_weight['{self.task}']` has shape {weight_shape}, which does not fit labels of shape {shape}. "
                "Give one weight per row, or one per label."
            )

    def violations(self, y: np.ndarray, weight: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
        """Yield what is wrong in a batch: (which cells, their values, the rule that they break)."""
        y = y.astype("float32")
        counted = np.ones(y.shape, bool)
        if weight is not None:
            weight = weight.astype("float32")
            rule = f"`sample_weight['{self.task}']` must be finite and not negative (0: no label)."
            yield ~((weight >= 0) & np.isfinite(weight)), weight, rule
            counted &= with_rank(weight > 0, y.ndim)
        if self.ignored is not None:
            counted &= y != self.ignored
        finite = np.isfinite(y)
        mark_missing = "Give missing labels the weight 0, for instance with tf_mtl.data.mask_missing."
        rule = f"`y['{self.task}']` must not hold NaN or infinity where its weight is not 0. {mark_missing}"
        yield ~finite & counted, y, rule
        largest = self.largest(y.shape)
        if largest is not None:
            inside = (y >= 0) & (y <= largest) & self.consistent(y)
            if self.integers:
                inside &= y == np.round(y)
            rule = f"`y['{self.task}']` must {self.allowed(y.shape)} where its weight is not 0. {mark_missing}"
            yield ~inside & counted & finite, y, rule


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

    def assertions(self, y: tf.Tensor, weight: tf.Tensor, valid_mask: tf.Tensor) -> list[tf.Tensor]:
        """Return an op that fails where a head is no word of its own sentence."""
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

    def consistent(self, y: Any) -> Any:
        """Return where the first word is not after the last one, and both or neither are 0."""
        first, last = y[..., :1], y[..., 1:]
        return (first <= last) & ((first == 0) == (last == 0))

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what spans must be."""
        words = "" if self.high is None else f" from 0 to {self.high}"
        return f"be (first word, last word), integers{words}, counted from 1, or (0, 0) for no answer,"


def has_strings(labels: Any) -> bool:
    """Return whether labels, an array, tensor or spec, are strings or other objects."""
    return labels.dtype == tf.string or getattr(labels.dtype, "kind", None) in ("O", "U", "S")


def with_rank(array: np.ndarray, rank: int) -> np.ndarray:
    """Return an array with axes of size 1 appended, or trailing axes of size 1 removed."""
    while array.ndim > rank and array.shape[-1] == 1:
        array = array[..., 0]
    return array.reshape(array.shape + (1,) * (rank - array.ndim))


class Rules(NamedTuple):
    """What batches must keep.

    Attributes:
        specs: What the labels of each output must look like.
        finite_inputs: Whether inputs must not hold NaN or infinity.
    """

    specs: tuple[LabelSpec, ...]
    finite_inputs: bool = True


def check_structure(y: Any, weight: Any, specs: Sequence[LabelSpec]) -> None:
    """Raise unless labels, and weights if there are any, are dicts keyed by task.

    Raises:
        TypeError: if one is not a dict.
        ValueError: for an unknown task name, or a task whose labels count and are missing.
    """
    tasks = [spec.task for spec in specs]
    if not isinstance(y, Mapping):
        raise TypeError(f"`y` must be a dict {{task: labels}} with the keys {tasks}, received {type(y).__name__}.")
    unread = [spec.task for spec in specs if not spec.counts]
    check_names("y", [*y, *(task for task in unread if task not in y)], tasks)
    if isinstance(weight, Mapping):
        check_names("sample_weight", weight, tasks, required=False)
    elif weight is not None and not hasattr(weight, "shape"):
        raise TypeError(
            "`sample_weight` must be a dict {task: weights}, or one array for all tasks, "
            f"received {type(weight).__name__}."
        )


def weight_of(task: str, weight: Any) -> Any:
    """Return a task's label weights: its entry, the one tensor for all tasks, or None."""
    return weight.get(task) if isinstance(weight, Mapping) else weight
