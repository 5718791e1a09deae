"""Whether logged values improve upwards or downwards, in the form in which Keras' callbacks ask for it.

With `mode="auto"`, a callback looks for the value that it monitors among the metrics of each `MetricsList` in
`model.metrics`, and reads `_direction`. There Keras itself has metrics without their outputs' names, and no losses.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import keras
from keras.src.trainers.compile_utils import MetricsList


class _LoggedValue(NamedTuple):
    """The name of a value in the logs, and the metric that it comes from."""

    name: str
    metric: Any

    @property
    def _direction(self):
        return self.metric._direction  # an AttributeError where the metric has none, for `hasattr`


class _Loss:
    _direction = "down"


class Directions(MetricsList):
    """A list of logged values with their directions, among the metrics of a model; it measures nothing.

    Args:
        metrics: The metrics of each task.
        joint_metrics: Metrics of several tasks.
    """

    def __init__(
        self, metrics: dict[str, list[keras.metrics.Metric]], joint_metrics: Iterable[keras.metrics.Metric] = ()
    ):
        values = [_LoggedValue(f"{task}_loss", _Loss) for task in metrics]
        values += [_LoggedValue(metric.name, metric) for metric in joint_metrics]
        for task in metrics:
            values += _values_of_task(task, metrics[task])
        super().__init__(values, name="directions")

    def result(self) -> dict[str, Any]:
        """Return no results."""
        return {}

    def reset_state(self) -> None:
        """Do nothing: the metrics are reset where they are measured."""


def _values_of_task(task: str, metrics: list[keras.metrics.Metric]) -> Iterator[_LoggedValue]:
    names: set[str] = set()
    for metric in metrics:
        weighted = "weighted_" if metric.name in names else ""  # as in `TaskMetrics`
        names.add(metric.name)
        for name in getattr(metric, "result_names", (metric.name,)):
            yield _LoggedValue(f"{task}_{weighted}{name}", metric)
