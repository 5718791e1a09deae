"""The metrics of a model's tasks, each over the rows that are labelled for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine.objectives import Objectives
from tf_mtl._names import check_names
from tf_mtl.tasks import Task


def compiled_metrics(
    objectives: Objectives,
    tasks: Sequence[Task],
    metrics: Mapping[str, Any] | None,
    weighted_metrics: Mapping[str, Any] | None,
    joint_metrics: Sequence[keras.metrics.Metric] | None,
) -> "TaskMetrics":
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
        loss: The task's loss, which tells what "accuracy" means.

    Raises:
        ValueError: for a name that Keras does not know, or "accuracy" with a loss that does not tell which.
    """
    given = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return [_as_metric(task, metric, loss) for metric in given]


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
                f"`metrics['{task}']` says '{metric}', but the loss '{loss.name}' does not tell which accuracy. "
                "Pass a metric object, such as keras.metrics.SparseCategoricalAccuracy()."
            )
        if kind == "binary_crossentropy" and _from_logits(loss):
            raise ValueError(
                f"`metrics['{task}']` says '{metric}', but the loss takes logits and Keras' accuracy takes "
                "probabilities. Pass tf_mtl.metrics.LogitsBinaryAccuracy()."
            )
        return kinds[kind](name=metric)
    found = keras.metrics.get(metric)
    if not isinstance(found, keras.metrics.Metric):
        found = keras.metrics.MeanMetricWrapper(found, name=getattr(found, "__name__", None))
    if isinstance(metric, str):
        found.name = metric
    return found


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
                f"'{metric.name}' of `joint_metrics` counts tasks as right or wrong, which '{spec.task}' cannot "
                "be: it needs class indices or tags for labels, or yes or no with logits for outputs."
            )


def _is_binary(loss, spec):
    return spec.high == 1 and "categorical" not in loss.name and getattr(loss, "from_logits", True)


class TaskMetrics(keras.metrics.Metric):
    """Updates each task's metrics with its labelled rows and reports them as `<task>_<metric>`.

    Args:
        metrics: For each task the metrics to which labelled rows count 1 and others 0.
        weighted_metrics: For each task the metrics to which rows count by their label weight.
        joint_metrics: Metrics of several tasks, which are given all labels and predictions.
        readers: For tasks whose outputs are not what metrics take, functions from one to the other.
    """

    def __init__(
        self,
        metrics: Mapping[str, Sequence[keras.metrics.Metric]],
        weighted_metrics: Mapping[str, Sequence[keras.metrics.Metric]],
        joint_metrics: Sequence[keras.metrics.Metric] = (),
        predictions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] | None = None,
    ):
        super().__init__(name="task_metrics")
        self.by_name = {}
        self._joint = list(joint_metrics)
        self._predictions = dict(predictions or {})
        for task in metrics:
            for metric in metrics[task]:
                self._add(task, metric, f"{task}_{metric.name}", weighted=False)
            for metric in weighted_metrics.get(task, ()):
                plain = f"{task}_{metric.name}"
                name = f"{task}_weighted_{metric.name}" if plain in self.by_name else plain
                self._add(task, metric, name, weighted=True)
        for metric in self._joint:
            if metric.name in self.by_name or [other.name for other in self._joint].count(metric.name) > 1:
                raise ValueError(f"`joint_metrics` hold '{metric.name}', the name of another metric. Rename one.")

    def _add(self, task, metric, name, weighted):
        if name == f"{task}_loss":
            raise ValueError(
                f"`metrics['{task}']` holds a metric named 'loss', the name of the task's loss. Rename it."
            )
        if name in self.by_name:
            raise ValueError(
                f"`metrics['{task}']` holds two metrics named '{metric.name}'. Give one of them another `name`."
            )
        self.by_name[name] = (task, metric, weighted)

    def by_task(self, tasks: Sequence[str]) -> dict[str, list[keras.metrics.Metric]]:
        """Return the metrics of each task."""
        found = self.by_name.values()
        return {task: [metric for owner, metric, _ in found if owner == task] for task in tasks}

    @property
    def variables(self):
        """The variables of all metrics."""
        return [v for metric in self._all for v in metric.variables]

    def update_state(self, labels, outputs):
        """Add a batch of `{task: (y, weight or None)}` and `{task: output}`."""
        predictions = dict(outputs)
        for task, predict in self._predictions.items():
            predictions[task] = predict(outputs[task])
        for task, metric, weighted in self.by_name.values():
            y, weight = labels[task]
            if weight is not None and not weighted:
                weight = tf.cast(weight > 0, tf.float32)
            metric.update_state(y, predictions[task], sample_weight=weight)
        for metric in self._joint:
            metric.update_state(labels, predictions)

    def result(self):
        """Return a dict of all results; those of a metric with several are named `<task>_<result>`."""
        found = {}
        for name, (task, metric, _) in self.by_name.items():
            result = metric.result()
            several = isinstance(result, Mapping)
            found |= {f"{task}_{key}": value for key, value in result.items()} if several else {name: result}
        return found | {metric.name: metric.result() for metric in self._joint}

    def reset_state(self):
        """Forget all rows."""
        for metric in self._all:
            metric.reset_state()

    @property
    def _all(self):
        return [metric for _, metric, _ in self.by_name.values()] + self._joint
