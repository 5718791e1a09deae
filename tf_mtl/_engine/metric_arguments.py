"""From what `compile` is given as metrics to the metrics of each task."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine.objectives import Objectives
from tf_mtl._engine.task_metrics import TaskMetrics
from tf_mtl._names import check_names
from tf_mtl.tasks import Task


def compiled_metrics(
    objectives: Objectives,
    tasks: Sequence[Task],
    metrics: Mapping[str, Any] | None,
    weighted_metrics: Mapping[str, Any] | None,
    joint_metrics: Sequence[keras.metrics.Metric] | None,
) -> TaskMetrics:
    """Combine the metrics that the tasks declare with those given to `compile`.

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
        {task: as_metrics(task, each.get(task, []), loss) for task, loss in losses.items()}
        for each in (given, weighted)
    )
    predictions = {task.name: task.predictions for task in tasks}
    return TaskMetrics(by_task, weighted_by_task, joint_metrics or (), predictions)


def as_metrics(
    task: str, metrics: str | keras.metrics.Metric | Sequence, loss: keras.losses.Loss
) -> list[keras.metrics.Metric]:
    """Return the metrics of one task as a list of `keras.metrics.Metric`.

    Args:
        task: The task's name, for messages.
        metrics: A metric, the name of one, or a list of these.
        loss: The task's loss, which determines what "accuracy" means.

    Raises:
        ValueError: for a name that Keras does not know, or "accuracy" with a loss that does not determine which.
    """
    given = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return [_as_metric(task, metric, loss) for metric in given]


class _FunctionMetric(keras.metrics.MeanMetricWrapper):
    """The mean of a function's values; one with a value per row counts rows by the largest weight of their labels."""

    def __init__(self, function, name):
        super().__init__(function, name)
        self.function = function

    def update_state(self, y_true, y_pred, sample_weight=None):
        values = tf.convert_to_tensor(self.function(y_true, y_pred))
        if sample_weight is not None and len(values.shape) >= 1:
            sample_weight = tf.reduce_max(sample_weight, list(range(len(values.shape), len(sample_weight.shape))))
        keras.metrics.Mean.update_state(self, values, sample_weight)


def _as_metric(task, metric, loss):
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
        resolved = _FunctionMetric(resolved, name=getattr(resolved, "__name__", None))
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
