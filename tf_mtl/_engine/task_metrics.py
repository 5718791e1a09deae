"""The metrics of a model's tasks, each over the rows that are labelled for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf


class _TaskMetric(NamedTuple):
    """A metric of a task; `weighted` if rows count by their label weight."""

    task: str
    metric: keras.metrics.Metric
    weighted: bool


class TaskMetrics(keras.metrics.Metric):
    """Updates each task's metrics with its labelled rows and reports them as `<task>_<metric>`.

    Args:
        metrics: For each task the metrics in which labelled rows count 1 and others 0.
        weighted_metrics: For each task the metrics in which rows count by their label weight.
        joint_metrics: Metrics of several tasks, which are given all labels and predictions.
        predictions: For tasks, functions from the output to what metrics compare with the labels.
    """

    def __init__(
        self,
        metrics: Mapping[str, Sequence[keras.metrics.Metric]],
        weighted_metrics: Mapping[str, Sequence[keras.metrics.Metric]],
        joint_metrics: Sequence[keras.metrics.Metric] = (),
        predictions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]] | None = None,
    ):
        super().__init__(name="task_metrics")
        self._by_name: dict[str, _TaskMetric] = {}
        self._joint = list(joint_metrics)
        self._predictions = dict(predictions or {})
        for task in metrics:
            for metric in metrics[task]:
                self._add(task, metric, f"{task}_{metric.name}", weighted=False)
            for metric in weighted_metrics.get(task, ()):
                plain = f"{task}_{metric.name}"
                name = f"{task}_weighted_{metric.name}" if plain in self._by_name else plain
                self._add(task, metric, name, weighted=True)
        for metric in self._joint:
            if metric.name in self._by_name or [other.name for other in self._joint].count(metric.name) > 1:
                raise ValueError(f"`joint_metrics` holds '{metric.name}', the name of another metric. Rename one.")

    def _add(self, task, metric, name, weighted):
        if name == f"{task}_loss":
            raise ValueError(
                f"`metrics['{task}']` holds a metric named 'loss', the name of the task's loss. Rename it."
            )
        if name in self._by_name:
            raise ValueError(
                f"`metrics['{task}']` holds two metrics named '{metric.name}'. Give one of them another `name`."
            )
        self._by_name[name] = _TaskMetric(task, metric, weighted)

    def by_task(self, tasks: Sequence[str]) -> dict[str, list[keras.metrics.Metric]]:
        """Return the metrics of each task."""
        return {task: [each.metric for each in self._by_name.values() if each.task == task] for task in tasks}

    @property
    def variables(self):
        """The variables of all metrics."""
        return [v for metric in self._all for v in metric.variables]

    def update_state(self, labels, outputs):
        """Add a batch of `{task: (y, weight or None)}` and `{task: output}`."""
        predictions = dict(outputs)
        for task, predict in self._predictions.items():
            predictions[task] = predict(outputs[task])
        for each in self._by_name.values():
            y, weight = labels[each.task]
            if weight is not None and not each.weighted:
                weight = tf.cast(weight > 0, tf.float32)
            each.metric.update_state(y, predictions[each.task], sample_weight=weight)
        for metric in self._joint:
            metric.update_state(labels, predictions)

    def result(self):
        """Return a dict of all results; those of a metric with several are named `<task>_<result>`."""
        results: dict[str, Any] = {}
        for name, each in self._by_name.items():
            result = each.metric.result()
            if isinstance(result, Mapping):
                results |= {f"{each.task}_{key}": value for key, value in result.items()}
            else:
                results[name] = result
        return results | {metric.name: metric.result() for metric in self._joint}

    def reset_state(self):
        """Reset all metrics."""
        for metric in self._all:
            metric.reset_state()

    @property
    def _all(self):
        return [each.metric for each in self._by_name.values()] + self._joint
