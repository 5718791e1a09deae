"""From what `compile` is given as metrics to the metrics of each task."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras

from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.task_metrics import FunctionMetric, TaskMetrics
from tf_mtl._names import by_output, check_names
from tf_mtl.tasks import Task


class MetricArguments(NamedTuple):
    """The metrics that `compile` was given, or that tasks declare, by output; unresolved."""

    metrics: dict[str, Any]
    weighted: dict[str, Any]
    joint: Sequence[keras.metrics.Metric]

    @classmethod
    def create(
        cls,
        outputs: Mapping[str, keras.KerasTensor],
        tasks: Sequence[Task],
        metrics: Mapping[str, Any] | Sequence | None,
        weighted_metrics: Mapping[str, Any] | Sequence | None,
        joint_metrics: Sequence[keras.metrics.Metric] | None,
    ) -> "MetricArguments":
        """Combine the metrics that the tasks declare with those given to `compile`.

        Raises:
            ValueError: for unknown task names.
        """
        declared = {task.name: task.metrics() for task in tasks}
        weighted = by_output("weighted_metrics", weighted_metrics, outputs)
        return cls(declared | by_output("metrics", metrics, outputs), weighted, joint_metrics or ())

    @property
    def measured(self) -> set[str]:
        """The outputs that have metrics."""
        joint = {task for metric in self.joint for task in getattr(metric, "tasks", ())}
        return joint | {task for each in (self.metrics, self.weighted) for task, given in each.items() if given}


def compiled_metrics(
    arguments: MetricArguments,
    objectives: Objectives,
    shapes: Mapping[str, Sequence[int | None]],
    tasks: Sequence[Task],
) -> TaskMetrics:
    """Return the metrics in force.

    Args:
        arguments: The metrics given or declared.
        objectives: The losses in force.
        shapes: The shape of each output.
        tasks: The task objects.

    Raises:
        ValueError: for metrics that are not supported.
    """
    for metric in arguments.joint:
        _check_joint(metric, objectives)
    losses = {spec.task: objectives.losses.get(spec.task) for spec in objectives.specs}
    by_task, weighted_by_task = (
        {task: as_metrics(task, each.get(task), loss, shapes[task]) for task, loss in losses.items()}
        for each in (arguments.metrics, arguments.weighted)
    )
    predictions = {task.name: task.predictions for task in tasks if task.name in arguments.measured}
    return TaskMetrics(by_task, weighted_by_task, arguments.joint, predictions)


def as_metrics(
    task: str,
    metrics: str | keras.metrics.Metric | Sequence | None,
    loss: keras.losses.Loss | None,
    shape: Sequence[int | None],
) -> list[keras.metrics.Metric]:
    """Return the metrics of one task as a list of `keras.metrics.Metric`.

    Args:
        task: The task's name, for messages.
        metrics: A metric, the name of one, a list of these, or None.
        loss: The task's loss, which determines what "accuracy" means; None without.
        shape: The shape of the task's output.

    Raises:
        ValueError: for a name that Keras does not know, or "accuracy" with a loss that does not determine which.
    """
    given = keras.tree.flatten(metrics)  # Keras takes nested lists, and None for no metric
    return [_as_metric(task, metric, loss, shape) for metric in given if metric is not None]


def _as_metric(task, metric, loss, shape):
    if metric in ("accuracy", "acc"):
        kinds = {
            "sparse_categorical_crossentropy": keras.metrics.SparseCategoricalAccuracy,
            "categorical_crossentropy": keras.metrics.CategoricalAccuracy,
            "binary_crossentropy": keras.metrics.BinaryAccuracy,
            "crf_negative_log_likelihood": keras.metrics.SparseCategoricalAccuracy,
        }
        kind = getattr(getattr(loss, "fn", None), "__name__", getattr(loss, "name", None))
        if kind not in kinds:
            raise ValueError(
                f"`metrics['{task}']` is '{metric}', but the task's loss, '{kind}', does not determine which accuracy. "
                "Pass a metric object, such as keras.metrics.SparseCategoricalAccuracy()."
            )
        if kind == "binary_crossentropy" and _from_logits(loss):
            raise ValueError(
                f"`metrics['{task}']` is '{metric}', but the loss takes logits and Keras' accuracy takes "
                "probabilities. Pass tf_mtl.metrics.LogitsBinaryAccuracy()."
            )
        return kinds[kind](name=metric)
    resolved = keras.metrics.get(metric)
    if not isinstance(resolved, keras.metrics.Metric):
        resolved = FunctionMetric(resolved, getattr(resolved, "__name__", None), shape)
    if isinstance(metric, str):
        resolved.name = metric
    return resolved


def _from_logits(loss):
    return not hasattr(loss, "from_logits") or loss.from_logits


def _check_joint(metric, objectives):
    tasks = getattr(metric, "tasks", None)
    if not isinstance(tasks, (list, tuple)) or not tasks:
        raise ValueError(
            "`joint_metrics` must hold metrics of several tasks, such as tf_mtl.metrics.FrameAccuracy(tasks), "
            f"received {metric!r}. Metrics of one task belong in `metrics`."
        )
    check_names(f"tasks of '{metric.name}'", tasks, [spec.task for spec in objectives.specs], required=False)
    for spec in objectives.specs:
        if spec.task in tasks and not spec.classes and not _is_binary(objectives.losses.get(spec.task), spec):
            raise ValueError(
                f"'{metric.name}' of `joint_metrics` counts predictions as right or wrong, which '{spec.task}' does "
                "not allow: labels must be class indices or tags, or binary with logits for outputs."
            )


def _is_binary(loss, spec):
    return loss is not None and spec.high == 1 and "categorical" not in loss.name and getattr(loss, "from_logits", True)
