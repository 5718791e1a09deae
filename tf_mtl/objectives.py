"""What the tasks of a compiled model minimise and report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._assertions import assert_none
from tf_mtl._names import check_names
from tf_mtl._shapes import match_rank
from tf_mtl.labels import LabelSpec, check_structure, weight_of
from tf_mtl.losses import as_loss, clean_labels, weighted_sums
from tf_mtl.metrics import TaskMetrics, as_metrics
from tf_mtl.tasks import Task

Labels = dict[str, tuple[tf.Tensor, tf.Tensor | None]]


@dataclass(frozen=True)
class Objectives:
    """The losses in force.

    Attributes:
        losses: The loss of each task, in the order of the model's outputs.
        loss_weights: The factor of each loss, in the same order.
        specs: What the labels of each task must look like.
        present: For tasks on sequences, a function from the output to the positions that there are.
    """

    losses: dict[str, keras.losses.Loss]
    loss_weights: list[float]
    specs: list[LabelSpec]
    present: dict[str, Callable[[tf.Tensor], tf.Tensor]]

    @classmethod
    def of(
        cls,
        outputs: Mapping[str, keras.KerasTensor],
        tasks: Sequence[Task],
        loss: Any,
        loss_weights: Mapping[str, float] | None,
    ) -> "Objectives":
        """Settle losses from what the tasks declare and what `compile` was given.

        Raises:
            ValueError: for unknown or missing task names, or values that cannot be taken.
        """
        if loss is not None and not isinstance(loss, Mapping):
            loss = dict.fromkeys(outputs, loss)
        given = {**{task.name: task.loss for task in tasks}, **(loss or {})}
        check_names("loss", given, outputs)
        losses = {task: as_loss(task, given[task]) for task in outputs}
        specs = [LabelSpec.of(task, loss, outputs[task]) for task, loss in losses.items()]
        present = {task.name: task.present for task in tasks if type(task).present is not Task.present}
        return cls(losses, _factors(loss_weights, outputs), specs, present)

    def labels(self, y: Any, weight: Any) -> Labels:
        """Return each task's labels, those of weight 0 replaced by 0, and their weights (None: all labelled)."""
        check_structure(y, weight, tuple(self.losses))
        for spec in self.specs:
            spec.check_shape(tf.TensorShape(y[spec.task].shape))
        return {task: clean_labels(loss, y[task], weight_of(task, weight)) for task, loss in self.losses.items()}

    def counted(self, labels: Labels, outputs: Mapping[str, tf.Tensor]) -> Labels:
        """Return labels of which those behind the end of a sequence do not count, whatever their weights."""
        found = dict(labels)
        for task, present in self.present.items():
            y, weight = labels[task]
            there = tf.cast(present(outputs[task]), tf.float32)
            with tf.control_dependencies([_assert_as_long(task, y, there)]):
                counted = tf.identity(there) if weight is None else there * match_rank(weight, 2)
            found[task] = clean_labels(self.losses[task], y, counted)
        return found

    def sums(self, labels: Labels, outputs: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        """Return sum(w * l) and sum(w) of each task over the rows at hand, both [T]."""
        labels = self.counted(labels, outputs)
        found = [
            weighted_sums(task, loss, labels[task][0], outputs[task], labels[task][1])
            for task, loss in self.losses.items()
        ]
        totals, counts = zip(*found, strict=True)
        return tf.stack(totals), tf.stack(counts)

    def metrics(
        self, tasks: Sequence[Task], metrics: Any, weighted_metrics: Any, joint_metrics: Sequence | None
    ) -> TaskMetrics:
        """Settle metrics from what the tasks declare and what `compile` was given.

        Raises:
            ValueError: for unknown or missing task names, or metrics that cannot be had.
        """
        declared = {task.name: task.metrics() for task in tasks}
        given = {**declared, **self._by_task("metrics", metrics)}
        check_names("metrics", given, self.losses, required=bool(metrics))
        weighted = self._by_task("weighted_metrics", weighted_metrics)
        check_names("weighted_metrics", weighted, self.losses, required=False)
        for metric in joint_metrics or ():
            self._check_joint(metric)
        readers = {task.name: task.predictions for task in tasks if type(task).predictions is not Task.predictions}
        return TaskMetrics(self._resolved(given), self._resolved(weighted), joint_metrics or (), readers)

    def _check_joint(self, metric):
        tasks = getattr(metric, "tasks", None)
        if not isinstance(tasks, (list, tuple)) or not tasks:
            raise ValueError(
                "`joint_metrics` must hold metrics of several tasks, such as tf_mtl.metrics.FrameAccuracy(tasks), "
                f"received {metric!r}. Metrics of one task belong into `metrics`."
            )
        check_names(f"tasks of '{metric.name}'", tasks, self.losses, required=False)
        for spec in self.specs:
            if spec.task in tasks and not spec.classes and not _yes_or_no(self.losses[spec.task], spec):
                raise ValueError(
                    f"'{metric.name}' of `joint_metrics` counts tasks as right or wrong, which '{spec.task}' cannot "
                    "be: it needs class indices or tags for labels, or yes or no with logits for outputs."
                )

    @staticmethod
    def _by_task(argument, metrics):
        if metrics is not None and not isinstance(metrics, Mapping):
            raise ValueError(f"`{argument}` must be a dict {{task: metrics}}, received {metrics!r}.")
        return metrics or {}

    def _resolved(self, given):
        return {task: as_metrics(task, given.get(task, []), loss) for task, loss in self.losses.items()}


def _assert_as_long(task, y, there):
    rule = (
        f"`y['{task}']` must be as long as the task's sequence, padded to the inputs' length (batches of "
        "mtl.data.batch_by_length and mtl.data.mix are)."
    )
    if not y.shape[1:2].is_compatible_with(there.shape[1:2]):
        raise ValueError(f"{rule} Received: [{y.shape[1]}] and [{there.shape[1]}].")
    length = tf.shape(y)[1:2]
    return assert_none(length != tf.shape(there)[1:2], length, rule)


def _yes_or_no(loss, spec):
    return spec.high == 1 and "categorical" not in loss.name and getattr(loss, "from_logits", True)


def _factors(loss_weights, outputs):
    if loss_weights is None:
        return [1.0] * len(outputs)
    if not isinstance(loss_weights, Mapping):
        raise ValueError(f"`loss_weights` must be a dict {{task: factor}}, received {loss_weights!r}.")
    check_names("loss_weights", loss_weights, outputs)
    for task, factor in loss_weights.items():
        if not isinstance(factor, (int, float)) or not 0 <= factor < float("inf"):
            raise ValueError(
                f"`loss_weights['{task}']` must be a finite number, not negative, received {factor!r}. "
                "For weights that change in training use `balancing`."
            )
    return [float(loss_weights[task]) for task in outputs]
