"""The trade-offs between the tasks' results under different weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tf_mtl._names import check_names
from tf_mtl.analysis._pareto import hypervolume, pareto
from tf_mtl.report import table
from tf_mtl.report._direction import direction
from tf_mtl.report._scatter import scatter


class Trial(NamedTuple):
    """Weights that were tried.

    Attributes:
        weights: `{task: weight}`.
        results: `{task: result}`, the means over seeds.
    """

    weights: dict[str, float]
    results: dict[str, float]


@dataclass(frozen=True)
class WeightSearch:
    """Weights and the results of the models trained with them; `print` shows them, with a star for the Pareto set.

    Attributes:
        trials: For each candidate a named tuple (weights, results).
        metrics: `{task: metric}`.
        lower_is_better: The tasks for whose metric lower is better; None to go by the metrics' names, as
            `report.compare` does.
    """

    trials: tuple[Trial, ...]
    metrics: Mapping[str, str]
    lower_is_better: tuple[str, ...] | None = None

    @property
    def pareto(self) -> tuple[Trial, ...]:
        """The trials for which no other is at least as good for all tasks and better for one."""
        return tuple(trial for trial, best in zip(self.trials, self._is_pareto, strict=True) if best)

    def hypervolume(self, reference: Mapping[str, float]) -> float:
        """Return the volume, in the space of results, of what is better than a reference and worse than some trial.

        Two searches with the same tasks, metrics and reference can be compared by it. It depends on the scales of the
        metrics.

        Args:
            reference: `{task: result}` that good trials exceed for every task, such as the worst results of interest.
        """
        check_names("reference", reference, self.metrics)
        point = np.array([reference[task] for task in self.metrics])
        return hypervolume(self._values, self._signs * point)

    def best(self, reference: Mapping[str, float]) -> Trial:
        """Return the trial with the highest mean relative gain over a reference, which is delta-m as in LibMTL.

        Args:
            reference: `{task: result}`, none of them 0: of single-task models, for example.

        Raises:
            ValueError: for references that are 0, or if all trials have results that are NaN.
        """
        check_names("reference", reference, self.metrics)
        base = np.array([reference[task] for task in self.metrics])
        gains = ((self._values - self._signs * base) / np.abs(np.where(base == 0, np.nan, base))).mean(1)
        if np.isnan(gains).all():
            raise ValueError(
                "`best` needs references other than 0 and a trial whose results are numbers, received the references "
                f"{dict(reference)}."
            )
        return self.trials[int(np.nanargmax(gains))]

    def plot(self, path: str | Path) -> Path:
        """Plot the results of each two tasks, with the Pareto set marked, and save a PNG file.

        It needs matplotlib (`pip install tf_mtl[recipes]`).

        Args:
            path: The file to write.

        Returns:
            The path of the file.

        Raises:
            ValueError: for a search over one task.
        """
        if len(self.metrics) < 2:
            raise ValueError(f"`plot` shows each two tasks, and needs at least two, received {list(self.metrics)}.")
        results = {
            f"{task} {metric}": [trial.results[task] for trial in self.trials] for task, metric in self.metrics.items()
        }
        return scatter(results, path, marked=self._is_pareto.tolist(), label="Pareto set")

    def __str__(self) -> str:
        tasks = list(self.metrics)
        rows = [
            [*(trial.weights[task] for task in tasks), *(trial.results[task] for task in tasks), "*" if best else ""]
            for trial, best in zip(self.trials, self._is_pareto, strict=True)
        ]
        header = [*(f"weight of {task}" for task in tasks), *(f"{t} {m}" for t, m in self.metrics.items()), "Pareto"]
        return table(header, rows, digits=4)

    @property
    def _signs(self) -> np.ndarray:
        """1 for tasks whose metric is better if higher, -1 for others."""
        if self.lower_is_better is not None:
            return np.array([-1.0 if task in self.lower_is_better else 1.0 for task in self.metrics])
        return np.array([direction(name, self.metrics) for name in self.metrics.values()])

    @property
    def _values(self) -> np.ndarray:
        """The results, [N, T], with the sign by which higher is better."""
        return self._signs * np.array([[trial.results[task] for task in self.metrics] for trial in self.trials])

    @property
    def _is_pareto(self) -> np.ndarray:
        return pareto(self._values)


def checked_lower(lower_is_better: Sequence[str] | None, metrics: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the tasks for whose metric lower is better; None to go by the metrics' names.

    Raises:
        ValueError: for tasks that have no metric.
    """
    if lower_is_better is None:
        return None
    check_names("lower_is_better", lower_is_better, metrics, required=False)
    return tuple(lower_is_better)
