"""From what `compile` is given as metrics to the metrics of each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.task_metrics import FunctionMetric, TaskMetrics
from tf_mtl._names import check_names
from tf_mtl.tasks import Task


def compiled_metrics(
    objectives: Objectives,
    shapes: Mapping[str, Sequence[int | None]],
    tasks: Sequence[Task],
    metrics: Mapping[str, Any] | None,
    weighted_metrics: Mapping[str, Any] | None,
    joint_metrics: Sequence[keras.metrics.Metric] | None,
) -> TaskMetrics:
    """Combine the metrics that the tasks declare with those given to `compile`.

    Args:
        objectives: The losses in force.
        shapes: The shape of each task's output.
        tasks: The task objects.
        metrics: As given to `compile`, as are the next two.
        weighted_metrics: By task.
        joint_metrics: A list.

    Raises:
        ValueError: for unknown or missing task names, or metrics that are not supported.
    """
    losses = objectives.losses
    given = {**{task.name: task.metrics() for task in tasks}, **_by_task("metrics", metrics)}
    check_names("metrics", given, losses, required=bool(metrics))
    weighted = _by_task("weighted_metrics", weighted_metrics)
    check_names("weighted_metrics", weighted, losses, required=False)
    for metric in joint_metrics or ():
        _check_joint(metric, objectives)
    by_task, weighted_by_task = (
        {task: as_metrics(task, each.get(task, []), loss, shapes[task]) for task, loss in losses.items()}
        for each in (given, weighted)
    )
    predictions = {task.name: task.predictions for task in tasks}
    return TaskMetrics(by_task, weighted_by_task, joint_metrics or (), predictions)


def as_metrics(
    task: str, metrics: str | keras.metrics.Metric | Sequence, loss: keras.losses.Loss, shape: Sequence[int | None]
) -> list[keras.metrics.Metric]:
    """Return the metrics of one task as a list of `keras.metrics.Metric`.

    Args:
        task: The task's name, for messages.
        metrics: A metric, the name of one, or a list of these.
        loss: The task's loss, which determines what "accuracy" means.
        shape: The shape of the task's output.

    Raises:
        ValueError: for a name that Keras does not know, or "accuracy" with a loss that does not determine which.
    """
    given = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return [_as_metric(task, metric, loss, shape) for metric in given]


def _as_metric(task, metric, loss, shape):
    if metric in ("accuracy", "acc"):
        kinds = {
            "sparse_categorical_crossentropy": keras.metrics.SparseCategoricalAccuracy,
            "categorical_crossentropy": keras.metrics.CategoricalAccuracy,
            "binary_crossentropy": keras.metrics.BinaryAccuracy,
            "crf_negative_log_likelihood": keras.metrics.SparseCategoricalAccuracy,
        }
        kind = getattr(getattr(loss, "fn", None), "__name__", loss.name)
        if kind not in kinds:
            raise ValueError(
                f"`metrics['{task}']` is '{metric}', but the loss '{loss.name}' does not determine which accuracy. "
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


def _by_task(argument, metrics):
    if metrics is not None and not isinstance(metrics, Mapping):
        raise ValueError(f"`{argument}` must be a dict {{task: metrics}}, received {metrics!r}.")
    return metrics or {}


def _check_joint(metric, objectives):
    tasks = getattr(metric, "tasks", None)
    if not isinstance(tasks, (list, tuple)) or not tasks:
        raise ValueError(
            "`joint_metrics` must hold metrics of several tasks, such as tf_mtl.metrics.FrameAccuracy(tasks), "
            f"received {metric!r}. Metrics of one task belong in `metrics`."
        )
    check_names(f"tasks of '{metric.name}'", tasks, objectives.losses, required=False)
    for spec in objectives.specs:
        if spec.task in tasks and not spec.classes and not _is_binary(objectives.losses[spec.task], spec):
            raise ValueError(
                f"'{metric.name}' of `joint_metrics` counts predictions as right or wrong, which '{spec.task}' does "
                "not allow: labels must be class indices or tags, or binary with logits for outputs."
            )


def _is_binary(loss, spec):
    return spec.high == 1 and "categorical" not in loss.name and getattr(loss, "from_logits", True)
