"""What the tasks of a compiled model minimise: losses, loss weights, and which labels count."""

import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._assertions import assert_none
from tf_mtl._engine.global_rows import ComparedRows, batch_loss_sums
from tf_mtl._engine.masked_losses import as_loss, bad_rows, clean_labels, weighted_sums
from tf_mtl._engine.task_factors import TaskFactors
from tf_mtl._names import by_output
from tf_mtl._pipeline.label_specs import label_spec
from tf_mtl._pipeline.labels import LabelSpec, check_structure, weight_of
from tf_mtl._shapes import keras_mask, masked_weight, match_output, with_last_axis
from tf_mtl.losses import BatchLoss
from tf_mtl.tasks import Task

TaskLabels = dict[str, tuple[tf.Tensor, tf.Tensor | None]]


@dataclass(frozen=True)
class Objectives:
    """The losses in force.

    Attributes:
        losses: The loss of each task, in the order of the model's outputs; outputs without a loss are not trained.
        loss_weights: The factor of each loss, in the same order.
        specs: What the labels of each output must look like.
        valid_masks: For task objects, the function from the output to the positions that labels may stand at.
        task_factors: Further factors, which callbacks change; None unless there is such a callback.
    """

    losses: dict[str, keras.losses.Loss]
    loss_weights: list[float]
    specs: list[LabelSpec]
    valid_masks: dict[str, Callable[[tf.Tensor], tf.Tensor | None]]
    task_factors: TaskFactors | None = None

    @classmethod
    def create(
        cls,
        outputs: Mapping[str, keras.KerasTensor],
        tasks: Sequence[Task],
        loss: Any,
        loss_weights: Mapping[str, float] | Sequence[float] | None,
        measured: Collection[str],
    ) -> "Objectives":
        """Combine the losses that the tasks declare with those given to `compile`.

        Args:
            outputs: The model's symbolic outputs.
            tasks: The task objects.
            loss: See `MultiTaskModel.compile`.
            loss_weights: See `MultiTaskModel.compile`.
            measured: The outputs that have metrics.

        Raises:
            ValueError: for unknown task names, no loss at all, or losses and weights that are not supported.
        """
        is_one = loss is not None and not isinstance(loss, (Mapping, list, tuple))
        given = {task.name: task.loss for task in tasks}
        given |= dict.fromkeys(outputs, loss) if is_one else by_output("loss", loss, outputs)
        losses = {task: as_loss(task, given[task]) for task in outputs if given.get(task) is not None}
        if not losses:
            raise ValueError(
                f"`loss` must give at least one of the outputs {list(outputs)} a loss, received {loss!r}. "
                "Pass {task: loss}."
            )
        names = {task.name: (tuple(task.labels), task.labels_are_lists) for task in tasks}
        specs = [
            label_spec(task, losses.get(task), output, task in measured, *names.get(task, ()))
            for task, output in outputs.items()
        ]
        factors = _factors(loss_weights, outputs, losses)
        return cls(losses, factors, specs, {task.name: task.valid_mask for task in tasks})

    def check_division(self, accumulate: int, replicas: int) -> None:
        """Raise if a loss compares the rows of a batch, and micro-batches or replicas would change it.

        Raises:
            ValueError: naming the task and the remedy.
        """
        for spec in self.specs:
            if spec.mixes_rows and max(accumulate, replicas) > 1:
                raise ValueError(
                    f"`loss['{spec.task}']` compares the rows of a batch, which micro-batches and replicas divide: it "
                    "would change. Use accumulate=1 on one device, a tf_mtl.losses.BatchLoss, which is given the rows "
                    "of the global batch, or a loss of single rows."
                )

    def unpack_labels(self, y: Any, weight: Any) -> TaskLabels:
        """Return each task's labels, those of weight 0 replaced by 0, and their weights (None: all labelled)."""
        check_structure(y, weight, self.specs)
        labels = {}
        for spec in self.specs:
            if spec.counts:
                spec.check_shape(tf.TensorShape(y[spec.task].shape))
                loss, w = self.losses.get(spec.task), weight_of(spec.task, weight)
                if w is not None and spec.mixes_rows:
                    raise ValueError(
                        f"`sample_weight['{spec.task}']` is not supported: the task's loss compares the rows of a "
                        "batch, so rows without a label would still count. Leave them out of the batch, or use a "
                        "tf_mtl.losses.BatchLoss, which is given the weights."
                    )
                labels[spec.task] = clean_labels(loss, y[spec.task], w)
        return labels

    def masked(self, labels: TaskLabels, outputs: Mapping[str, tf.Tensor]) -> TaskLabels:
        """Return the labels, with weight 0 where a task's output is masked: what losses and metrics count.

        An output is masked after the end of a sequence (`Task.valid_mask`), and where its Keras mask is False.
        """
        result, specs = dict(labels), {spec.task: spec for spec in self.specs}
        for task in filter(result.__contains__, self.valid_masks):
            (y, weight), valid = result[task], self.valid_masks[task](outputs[task])
            if valid is not None:
                with tf.control_dependencies([_assert_as_long(task, y, valid)]):
                    weight = tf.identity(masked_weight(weight, valid))
                y, weight = clean_labels(self.losses.get(task), y, weight)
            with tf.control_dependencies(specs[task].assertions(y, weight, outputs[task], valid)):
                result[task] = tf.identity(y), weight
        for task, (y, weight) in result.items():
            mask = keras_mask(outputs[task])
            if mask is not None:
                result[task] = y, masked_weight(weight, mask)
        return result

    def factors(self) -> tf.Tensor:
        """Return the factor of each loss, [T]."""
        constant = tf.constant(self.loss_weights)
        return constant if self.task_factors is None else constant * self.task_factors.value

    def learns(self, weight_sums: tf.Tensor) -> tf.Tensor:
        """Return which tasks learn from a global batch with these sums of label weights, [T]: not those it has no label
        of, nor those whose factor a callback has set to 0.
        """
        labelled = weight_sums > 0
        return labelled if self.task_factors is None else labelled & (self.task_factors.value > 0)

    @property
    def compare_rows(self) -> bool:
        """Whether the loss of some task compares the rows of a batch."""
        return any(isinstance(loss, BatchLoss) for loss in self.losses.values())

    def compared_rows(self, labels: TaskLabels, outputs: Mapping[str, tf.Tensor]) -> dict[str, ComparedRows]:
        """Return the rows of the tasks whose losses compare them."""
        return {
            task: ComparedRows(y, output, weight)
            for task, loss, y, output, weight in self._of_tasks(labels, outputs)
            if isinstance(loss, BatchLoss)
        }

    def loss_sums(
        self,
        labels: TaskLabels,
        outputs: Mapping[str, tf.Tensor],
        before: Sequence[Mapping[str, ComparedRows]] = (),
        after: Sequence[Mapping[str, ComparedRows]] = (),
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Return sum(w * l) of each task over the given rows, T scalars, and sum(w), [T].

        The scalars are separate, so that the backward pass of one task does not pass through the others' heads.

        Args:
            labels: The labels and weights by task.
            outputs: The outputs by task.
            before: The `compared_rows` of this replica's micro-batches before the given rows.
            after: Those of the micro-batches after them.
        """
        pairs = []
        for task, loss, y, output, weight in self._of_tasks(labels, outputs):
            if isinstance(loss, BatchLoss):
                others = [[rows[task] for rows in part] for part in (before, after)]
                pairs.append(batch_loss_sums(task, loss, ComparedRows(y, output, weight), *others))
            else:
                pairs.append(weighted_sums(task, loss, y, output, weight))
        loss_sums, weight_sums = zip(*pairs, strict=True)
        return list(loss_sums), tf.stack(weight_sums)

    def bad_rows(self, labels: TaskLabels, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Return which of the given rows have a loss that is NaN or infinite, [T, B]; none for a `BatchLoss`."""
        rows = tf.shape(next(iter(outputs.values())))[0]
        return tf.stack(
            [
                tf.zeros([rows], tf.bool) if isinstance(loss, BatchLoss) else bad_rows(loss, y, output, weight)
                for _, loss, y, output, weight in self._of_tasks(labels, outputs)
            ]
        )

    def _of_tasks(self, labels, outputs):
        """The name, loss, labels, output and label weights of each task that has a loss."""
        labels = self.masked(labels, outputs)
        for spec in self.specs:
            if spec.task in self.losses:
                (y, weight), output = labels[spec.task], with_last_axis(outputs[spec.task])
                y = match_output(y, output) if spec.output_rank else y
                yield spec.task, self.losses[spec.task], y, output, weight


def _assert_as_long(task, y, mask):
    rule = (
        f"`y['{task}']` must be as long as the task's sequence, padded to the inputs' length (batches of "
        "mtl.data.batch_by_length and mtl.data.mix are)."
    )
    y = with_last_axis(y)
    if not y.shape[1:2].is_compatible_with(mask.shape[1:2]):
        raise ValueError(f"{rule} Received: [{y.shape[1]}] and [{mask.shape[1]}].")
    length = tf.shape(y)[1:2]
    return assert_none(length != tf.shape(mask)[1:2], length, rule)


def _factors(loss_weights, outputs, losses):
    given = by_output("loss_weights", loss_weights, outputs)
    for task, factor in given.items():
        if not isinstance(factor, numbers.Real) or not 0 <= float(factor) < float("inf"):
            raise ValueError(
                f"`loss_weights['{task}']` must be a finite number, not negative, received {factor!r}. "
                "For weights that change in training use `balancing`."
            )
    return [float(given.get(task, 1.0)) for task in losses]
