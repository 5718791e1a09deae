"""The gains of pairs, the groups chosen from them, and the ways to train the tasks beside each other."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

import tf_mtl as mtl

ALONE, TOGETHER, SMALL = "each alone", "all together", "all together, small"
BY_GAINS, BY_AFFINITY = "groups by gains", "groups by affinity"
NOTES = """
- Test AUC, mean over the seeds. delta-m: mean over tasks of the AUC's gain over the single-task models of the same
  seed, as in LibMTL, where positive is better; mean +- standard deviation over the seeds.
- The models of each way have the same number of parameters in total. Only "all together, small" has fewer: its layers
  are those of a single-task model. Each model is trained with as many updates on the same rows.
- s to train, us per row to predict: the sum over the models of a way, as measured in this run, not a benchmark.
"""


def summary(runs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, dict]:
    """Return the means over seeds of each way, the best delta-m first."""
    by_way: dict[str, list] = {}
    for run in runs:
        by_way.setdefault(run["way"], []).append(run)
    rows: dict[str, dict] = {}
    for way, results in by_way.items():
        rows[way] = {key: results[0][key] for key in ("groups", "models", "units", "parameters")}
        rows[way] |= {key: median(run[key] for run in results) for key in ("train_s", "predict_us_per_row")}
        rows[way]["auc"] = {task: [run[task] for run in results] for task in tasks}
        pairs = zip(results, by_way[ALONE], strict=True)
        rows[way]["delta_m"] = [_delta_m(run, alone, tasks) for run, alone in pairs]
    return dict(sorted(rows.items(), key=lambda item: -fmean(item[1]["delta_m"])))


def agreement(gains: np.ndarray, affinity: np.ndarray) -> dict[str, float]:
    """Return the correlations of the gains with the affinities over all ordered pairs of tasks."""
    is_pair = ~np.eye(len(gains), dtype=bool)
    values = np.stack([gains[is_pair], affinity[is_pair]])
    ranks = values.argsort(axis=1).argsort(axis=1)
    return {"pearson": float(np.corrcoef(values)[0, 1]), "spearman": float(np.corrcoef(ranks)[0, 1])}


def text(
    tasks: Sequence[str],
    gains: np.ndarray,
    by_gains: mtl.analysis.Grouping,
    affinity: np.ndarray,
    by_affinity: mtl.analysis.Grouping,
    rows: Mapping[str, Mapping[str, Any]],
) -> str:
    """Return the report in Markdown."""
    correlations = agreement(gains, affinity)
    return "\n\n".join(
        [
            "Gain in AUC on held-out rows, %, of the task in the column when it is trained with the task in the row:",
            _matrix(tasks, 100 * gains),
            f"Groups by these gains:\n\n{by_gains}",
            "Affinity, times 100,000: the fraction of the column's loss that a step for the task in the row removes:",
            _matrix(tasks, 1e5 * affinity),
            f"Groups by these affinities:\n\n{by_affinity}",
            f"Correlation of gains and affinities: Pearson {correlations['pearson']:+.2f}, "
            f"Spearman {correlations['spearman']:+.2f}.",
            _table(tasks, rows) + "\n" + NOTES,
        ]
    )


def _delta_m(run: Mapping[str, Any], alone: Mapping[str, Any], tasks: Sequence[str]) -> float:
    results, base = ({task: {"auc": each[task]} for task in tasks} for each in (run, alone))
    return mtl.report.compare(results, base).gain_per_task


def _matrix(tasks: Sequence[str], values: np.ndarray) -> str:
    cells = [[None if i == j else value for j, value in enumerate(row)] for i, row in enumerate(values.tolist())]
    rows = [[task, *row] for task, row in zip(tasks, cells, strict=True)]
    return mtl.report.table(["", *tasks], rows, digits=2)


def _table(tasks: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    header = ["way", *tasks, "delta-m, %", "models", "parameters", "s to train", "us per row"]
    return mtl.report.table(header, [_cells(way, row, tasks) for way, row in rows.items()])


def _cells(way: str, row: Mapping[str, Any], tasks: Sequence[str]) -> list:
    percent = [100 * value for value in row["delta_m"]]
    spread = f" +- {stdev(percent):.2f}" if len(percent) > 1 else ""
    return [
        way,
        *(f"{fmean(row['auc'][task]):.4f}" for task in tasks),
        f"{fmean(percent):+.2f}{spread}",
        row["models"],
        f"{row['parameters']:,}",
        f"{row['train_s']:.0f}",
        f"{row['predict_us_per_row']:.1f}",
    ]
