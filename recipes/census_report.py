"""The table and the plot of the trunks beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from census_trunks import SINGLE
from gain_over_seeds import gain_over_seeds

import tf_mtl as mtl

NOTES = """
- best, mean: test AUC over the seeds. PaddleRec's MMoE on the same files: income 0.9494 and 0.9447, never married
  0.9942 and 0.9932.
- delta-m: mean over tasks of the AUC's gain relative to single-task training with the same seed, as in LibMTL; positive
  is better. The verdict is what its interval over seeds says.
- alignment: the mean cosine between the optimizer's steps and the balanced direction, with --measure-alignment.
- parameters: of all models together; single-task training has one per task.
- s per epoch: median over the epochs after the first, as measured in this run, not a benchmark.
"""
STATISTICS = ("best", "mean")


def summary(runs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, dict]:
    """Return each trunk's best and mean AUC over its seeds, the best delta-m first."""
    rows: dict[str, dict] = {}
    for trunk in dict.fromkeys(run["trunk"] for run in runs):
        by_seed = [run for run in runs if run["trunk"] == trunk]
        rows[trunk] = {key: by_seed[0][key] for key in ("units", "parameters")}
        for task in tasks:
            aucs = [run[task] for run in by_seed]
            rows[trunk][task] = {"auc": aucs, "best": max(aucs), "mean": fmean(aucs)}
        alignments = [run["alignment"] for run in by_seed if run["alignment"] is not None]
        rows[trunk]["alignment"] = fmean(alignments) if alignments else None
        rows[trunk]["epoch_s"] = median(run["epoch_s"] for run in by_seed)
    aucs_by_trunk = {trunk: {task: row[task]["auc"] for task in tasks} for trunk, row in rows.items()}
    for trunk, row in rows.items():
        row |= gain_over_seeds("auc", aucs_by_trunk[trunk], aucs_by_trunk[SINGLE])
    rows[SINGLE] |= {"delta_m_text": "", "verdict": ""}
    return dict(sorted(rows.items(), key=lambda item: -item[1]["delta_m"]))


def table(rows: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> str:
    """Return the table in Markdown, with notes."""
    columns = [f"{task}, {statistic}" for task in tasks for statistic in STATISTICS]
    header = ["trunk", *columns, "delta-m, 95% interval", "verdict", "alignment", "parameters", "s per epoch"]
    text = mtl.report.table(header, [_cells(trunk, row, tasks) for trunk, row in rows.items()], digits=4)
    return f"{text}\n{NOTES}"


def plot(rows: Mapping[str, Mapping[str, Any]], tasks: Sequence[str], path: Path) -> None:
    """Draw each trunk's AUCs: a panel per task, a line per trunk with its seeds and their mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(4.5 * len(tasks), 1.2 + 0.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
    for panel, task in zip(panels, tasks, strict=True):
        for height, row in enumerate(reversed(list(rows.values()))):
            values = row[task]["auc"]
            panel.plot(values, [height] * len(values), "o", color="tab:blue", markersize=4, alpha=0.5)
            panel.plot(row[task]["mean"], height, "|", color="tab:blue", markersize=16, markeredgewidth=2)
        panel.axvline(rows[SINGLE][task]["mean"], color="grey", linestyle="--", linewidth=1, label=f"{SINGLE}, mean")
        panel.set(title=task, xlabel="test AUC")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_yticks(range(len(rows)), reversed(list(rows)))
        panel.grid(axis="x", alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center")
    figure.savefig(path, dpi=110)


def _cells(trunk: str, row: Mapping[str, Any], tasks: Sequence[str]) -> list:
    aucs = [row[task][statistic] for task in tasks for statistic in STATISTICS]
    return [
        trunk,
        *aucs,
        row["delta_m_text"],
        row["verdict"],
        row["alignment"],
        f"{row['parameters']:,}",
        f"{row['epoch_s']:.1f}",
    ]
