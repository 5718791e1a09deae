"""Comparison of multi-task with single-task results, with both conventions of delta-m."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from tf_mtl._names import check_names
from tf_mtl.report._table import table

_LOWER_IS_BETTER = ("loss", "mae", "mse", "rmse", "error", "err", "perplexity", "distance", "angle", "rel")

Results = Mapping[str, Mapping[str, float]]


class Row(NamedTuple):
    """The results of one metric of a task, and its relative gain."""

    task: str
    metric: str
    multi_task: float
    single_task: float
    gain: float


@dataclass(frozen=True)
class Comparison:
    r"""Relative gains of multi-task over single-task results; `print` shows a table.

    A metric's gain is $(M - B)/|B|$ with the multi-task result $M$ and the single-task result $B$; its sign is reversed
    if lower values are better.

    Attributes:
        rows: For each metric a named tuple (task, metric, multi_task, single_task, gain).
    """

    rows: tuple[Row, ...]

    @property
    def drop_per_metric(self) -> float:
        """Delta-m as in Nash-MTL and FAMO: the mean over all metrics, as a drop; positive is worse."""
        return -fmean(row.gain for row in self.rows)

    @property
    def gain_per_task(self) -> float:
        """Delta-m as in LibMTL: the mean over tasks of the mean of their metrics' gains; positive is better."""
        by_task: dict[str, list[float]] = {}
        for row in self.rows:
            by_task.setdefault(row.task, []).append(row.gain)
        return fmean(fmean(gains) for gains in by_task.values())

    def __str__(self) -> str:
        rows = [[row.task, row.metric, row.multi_task, row.single_task, f"{row.gain:+.2%}"] for row in self.rows]
        text = table(["task", "metric", "multi-task", "single-task", "gain"], rows, digits=4)
        return (
            f"{text}\n\ndelta-m, mean over tasks, as a gain (positive is better): {self.gain_per_task:+.3%}"
            f"\ndelta-m, mean over metrics, as a drop (positive is worse): {self.drop_per_metric:+.3%}"
        )


def compare(multi_task: Results, single_task: Results, lower_is_better: Iterable[str] | None = None) -> Comparison:
    """Compare the results of one multi-task model with those of single-task models.

    Args:
        multi_task: `{task: {metric: value}}`.
        single_task: The same tasks and metrics, from single-task models.
        lower_is_better: Names of the metrics for which lower is better. By default those whose names contain one of the
            words loss, mae, mse, rmse, error, err, perplexity, distance or angle.

    Raises:
        ValueError: for tasks or metrics with results in only one of the two, or a single-task result of 0.

    Example:

    >>> comparison = mtl.report.compare({"a": {"auc": 0.9}}, {"a": {"auc": 0.8}})
    >>> round(comparison.gain_per_task, 4)
    0.125
    """
    check_names("single_task", single_task, multi_task)
    lower = None if lower_is_better is None else set(lower_is_better)
    rows = []
    for task, results in multi_task.items():
        check_names(f"single_task['{task}']", single_task[task], results)
        for metric, value in results.items():
            base = single_task[task][metric]
            if base == 0:
                raise ValueError(
                    f"`single_task['{task}']['{metric}']` must not be 0, since gains are relative to it. Leave out the "
                    "metric, in both results."
                )
            reverse = _is_lower_better(metric) if lower is None else metric in lower
            gain = (value - base) / abs(base)
            rows.append(Row(task, metric, float(value), float(base), -gain if reverse else gain))
    return Comparison(tuple(rows))


def _is_lower_better(metric):
    return any(word in metric.lower().split("_") for word in _LOWER_IS_BETTER)
