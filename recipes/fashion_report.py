"""The table and the plot of the balancing methods beside each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import fashion_data
import numpy as np
from gain_over_seeds import gain_over_seeds

import tf_mtl as mtl

TASKS = fashion_data.TASKS
SINGLE = "single-task"
HEADER = (
    "method",
    "left, %",
    "right, %",
    "delta-m, 95% interval",
    "verdict",
    "conflicts, %",
    "alignment",
    "ms per step",
)
NOTES = f"""
- left, right: test accuracy, mean +- standard deviation over the seeds; all models learn from the same pairs.
- delta-m: mean over tasks of the accuracy's gain relative to single-task training with the same seed, as in LibMTL;
  positive is better. The verdict is what its interval over seeds says.
- alignment: the mean cosine between the optimizer's steps and the balanced direction, with --measure-alignment.
- conflicts: training steps where the two gradients have a negative cosine; empty for methods that do not compare them.
- ms per step: median over the epochs after the first, as measured in this run, not a benchmark; {SINGLE}: both models.
"""


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Return each method's means over its seeds, the best delta-m first."""
    rows: dict[str, dict] = {}
    for method in dict.fromkeys(run["method"] for run in runs):
        by_seed = [run for run in runs if run["method"] == method]
        rows[method] = {task: fmean(run[task] for run in by_seed) for task in TASKS}
        rows[method]["seeds"] = {task: [run[task] for run in by_seed] for task in TASKS}
        for measure in ("conflict", "alignment"):
            values = [run[measure] for run in by_seed if run[measure] is not None]
            rows[method][measure] = fmean(values) if values else None
        rows[method]["step_ms"] = median(run["step_ms"] for run in by_seed)
    accuracies = {method: row["seeds"] for method, row in rows.items()}
    for method, row in rows.items():
        row |= gain_over_seeds("accuracy", accuracies[method], accuracies[SINGLE])
    rows[SINGLE] |= {"delta_m_text": "", "verdict": ""}
    return dict(sorted(rows.items(), key=lambda item: -item[1]["delta_m"]))


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the table in Markdown, with notes."""
    return mtl.report.table(HEADER, [cells(method, row) for method, row in rows.items()], digits=2) + "\n" + NOTES


def cells(method: str, row: Mapping[str, Any]) -> list:
    """Return a row of the table."""
    accuracies = []
    for task in TASKS:
        percent = 100 * np.array(row["seeds"][task])
        spread = f" +- {stdev(percent):.2f}" if len(percent) > 1 else ""
        accuracies.append(f"{percent.mean():.2f}{spread}")
    conflict = None if row["conflict"] is None else 100 * row["conflict"]
    return [method, *accuracies, row["delta_m_text"], row["verdict"], conflict, row["alignment"], row["step_ms"]]


def scatter(rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw each method's accuracies: means, and seeds as small marks; labels form a column at the right, by height."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    panel = figure.add_subplot(xlabel="left, test accuracy in %", ylabel="right, test accuracy in %")
    methods = sorted(rows.keys() - {SINGLE}, key=lambda method: rows[method]["right"])
    for i, method in enumerate(methods):
        colour, marker = colormaps["tab10"](i % 10), "osD^vPX"[i % 7]
        x, y = (100 * rows[method][task] for task in TASKS)
        seeds = (100 * np.array(rows[method]["seeds"][task]) for task in TASKS)
        panel.plot(*seeds, marker, color=colour, markersize=3, alpha=0.5)
        panel.plot(x, y, marker, color=colour)
        panel.annotate(
            method,
            (x, y),
            xytext=(1.04, (i + 0.5) / len(methods)),
            textcoords="axes fraction",
            va="center",
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "alpha": 0.7, "relpos": (0, 0.5)},
        )
    x, y = (100 * rows[SINGLE][task] for task in TASKS)
    panel.axvline(x, color="grey", linestyle="--", linewidth=1, label=SINGLE)
    panel.axhline(y, color="grey", linestyle="--", linewidth=1)
    panel.legend(loc="upper left")
    figure.savefig(path, dpi=110)
