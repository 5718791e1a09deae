"""What the labels of a task must look like, and the check of a batch against that."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names


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

    @property
    def integers(self) -> bool:
        """Whether labels are integers."""
        return self.classes

    @property
    def variant(self) -> tuple[Any, ...]:
        """What the rule depends on besides the other attributes; by default nothing."""
        return ()

    def largest(self, shape: Sequence[Any]) -> Any:
        """Return the largest label allowed; None for any number.

        Args:
            shape: The shape of the labels, batch included, with integers or tensors.
        """
        return self.high

    def allows(self, y: Any, shape: Sequence[Any]) -> Any:
        """Return which cells of labels are allowed, where `largest` is not None.

        Args:
            y: The labels, an array or a tensor of floats.
            shape: Their shape, with integers or tensors.
        """
        allowed = (y >= 0) & (y <= self.largest(shape))
        return allowed & (y % 1 == 0) if self.integers else allowed

    def allowed(self, shape: Sequence[Any]) -> str:
        """Return what labels of a shape must be, for messages."""
        return f"be class indices from 0 to {self.high}" if self.classes else f"lie in [0, {self.high:g}]"

    def assertions(
        self, y: tf.Tensor, weight: tf.Tensor | None, output: tf.Tensor, valid_mask: tf.Tensor | None
    ) -> list[tf.Tensor]:
        """Return ops that fail where labels break a rule that depends on the output; by default none.

        Args:
            y: The labels.
            weight: Their weights, 0 where the output is masked; None if all count.
            output: The task's output.
            valid_mask: The positions of the output that are not masked, [B, W]; None without a sequence of labels.
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
        if self.largest(y.shape) is not None:
            inside = self.allows(y, y.shape)
            rule = f"`y['{self.task}']` must {self.allowed(y.shape)} where its weight is not 0. {mark_missing}"
            yield ~inside & counted & finite, y, rule


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
        own_inputs: What fills inputs of the tasks' own; see `Task.fill_own_inputs`.
        training: Whether the batches are trained on.
    """

    specs: tuple[LabelSpec, ...]
    finite_inputs: bool = True
    own_inputs: tuple[Callable[..., dict[str, tf.Tensor]], ...] = ()
    training: bool = True

    @property
    def for_evaluation(self) -> "Rules":
        """The same rules for batches that are not trained on."""
        return self._replace(training=False)


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
