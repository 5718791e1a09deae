"""The metrics of a model's tasks, each over the rows that are labelled for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._shapes import keras_mask, match_output, needs_output_rank, weight_per_label, with_last_axis


class FunctionMetric(keras.metrics.MeanMetricWrapper):
    """The mean of a function's values; one with a value per row counts rows by the largest weight of their labels.

    Args:
        function: From labels and predictions to values.
        name: Name of the metric; None for Keras' default.
        shape: The shape of the task's output.
    """

    def __init__(self, function: Callable, name: str | None, shape: Sequence[int | None]):
        super().__init__(function, name)
        self.function = function
        self.output_rank = function.__module__.startswith("keras.") or needs_output_rank(function, shape)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch."""
        values = tf.convert_to_tensor(self.function(y_true, y_pred))
        if sample_weight is not None and 1 <= len(values.shape) < len(sample_weight.shape):
            sample_weight = tf.reduce_max(sample_weight, list(range(len(values.shape), len(sample_weight.shape))))
        keras.metrics.Mean.update_state(self, values, sample_weight)


class _TaskMetric(NamedTuple):
    """A metric of a task; `weighted` if rows count by their label weight."""

    task: str
    metric: keras.metrics.Metric
    weighted: bool

    @property
    def output_rank(self) -> bool:
        """Whether it needs labels of the output's rank; a user's own metric gets labels as given, as in Keras."""
        if isinstance(self.metric, FunctionMetric):
            return self.metric.output_rank
        kind = type(self.metric)
        return kind.__module__.startswith(("keras.", "tf_mtl.")) and kind is not keras.metrics.MeanMetricWrapper


class _Batch(NamedTuple):
    """What the metrics of a task are updated with.

    Attributes:
        given: The labels and what they are compared with, the latter without a Keras mask, which the weights contain.
        of_one_rank: The same, with labels of the prediction's rank, at least 2.
        weight: A weight for each label, or None if all count 1.
        labelled: 1 for labels whose weight is not 0, and 0 for others; None if all count.
    """

    given: tuple[tf.Tensor, tf.Tensor]
    of_one_rank: tuple[tf.Tensor, tf.Tensor]
    weight: tf.Tensor | None
    labelled: tf.Tensor | None

    @classmethod
    def of(cls, labelled: tuple[tf.Tensor, tf.Tensor | None], prediction: tf.Tensor) -> "_Batch":
        """Return (labels, weights of any rank that broadcasts to them) and a prediction, as metrics take them."""
        labels, weight = labelled
        if keras_mask(prediction) is not None:
            prediction = tf.identity(prediction)
        extended = with_last_axis(prediction)
        pairs = (labels, prediction), (match_output(labels, extended), extended)
        if weight is None:
            return cls(*pairs, None, None)
        weight = weight_per_label(weight, labels, prediction)
        return cls(*pairs, weight, tf.cast(weight > 0, tf.float32))


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
        """Add a batch of `{task: (y, weight or None)}` and `{task: output}`; weights are 0 where outputs are masked."""
        predictions = dict(outputs)
        for task, predict in self._predictions.items():
            predictions[task] = predict(outputs[task])
        tasks = dict.fromkeys(each.task for each in self._by_name.values())
        batches = {task: _Batch.of(labels[task], predictions[task]) for task in tasks}
        for each in self._by_name.values():
            batch = batches[each.task]
            weight = batch.weight if each.weighted else batch.labelled
            pair = batch.of_one_rank if each.output_rank else batch.given
            each.metric.update_state(*pair, sample_weight=weight)
        if self._joint:
            predictions = {task: with_last_axis(prediction) for task, prediction in predictions.items()}
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
