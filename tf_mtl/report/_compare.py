"""Multi-task results beside single-task results, with both conventions of delta-m."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from tf_mtl._names import check_names
from tf_mtl.report._table import table

_ERRORS = ("loss", "mae", "mse", "rmse", "error", "err", "perplexity", "distance", "angle")

Results = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Comparison:
    r"""Relative gains of multi-task over single-task results; print it for a table.

    A metric's gain is $(M - B)/|B|$ with the single-task result $B$, its sign turned where lower is better.

    Attributes:
        rows: (task, metric, multi-task result, single-task result, gain) for each metric.
    """

    rows: tuple[tuple[str, str, float, float, float], ...]

    @property
    def drop_per_metric(self) -> float:
        """Delta-m as in Nash-MTL and FAMO: the mean over all metrics, as a drop; positive is worse."""
        return -fmean(gain for *_, gain in self.rows)

    @property
    def gain_per_task(self) -> float:
        """Delta-m as in LibMTL: the mean over tasks of the mean of their metrics' gains; positive is better."""
        by_task: dict[str, list[float]] = {}
        for task, *_, gain in self.rows:
            by_task.setdefault(task, []).append(gain)
        return fmean(fmean(gains) for gains in by_task.values())

    def __str__(self) -> str:
        rows = [[*row[:4], f"{row[4]:+.2%}"] for row in self.rows]
        text = table(["task", "metric", "multi-task", "single-task", "gain"], rows, digits=4)
        return (
            f"{text}\n\ndelta-m, mean over tasks (positive: gain): {self.gain_per_task:+.3%}"
            f"\ndelta-m, mean over metrics (positive: drop): {self.drop_per_metric:+.3%}"
        )


def compare(multi_task: Results, single_task: Results, lower_is_better: Iterable[str] | None = None) -> Comparison:
    """Compare results of one multi-task model with those of single-task models.

    Args:
        multi_task: `{task: {metric: value}}`.
        single_task: The same tasks and metrics, from single-task models.
        lower_is_better: Names of the metrics of which less is better. By default those with one of the words loss,
            mae, mse, rmse, error, err, perplexity, distance or angle in their name.

    Raises:
        ValueError: for tasks or metrics that are in one of the two only, or a single-task result of 0.

    Example:

    >>> found = mtl.report.compare({"a": {"auc": 0.9}}, {"a": {"auc": 0.8}})
    >>> round(found.gain_per_task, 4)
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
                    f"`single_task['{task}']['{metric}']` is 0, so no relative gain can be given. Leave it out."
                )
            is_error = metric in lower if lower is not None else _is_error(metric)
            gain = (value - base) / abs(base)
            rows.append((task, metric, float(value), float(base), -gain if is_error else gain))
    return Comparison(tuple(rows))


def _is_error(metric):
    return any(word in metric.lower().split("_") for word in _ERRORS)
