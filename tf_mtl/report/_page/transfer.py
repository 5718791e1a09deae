"""Sections on what tasks gain from each other."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from tf_mtl.report._compare import Comparison, Row
from tf_mtl.report._page import evidence
from tf_mtl.report._page.bars import bar, interval
from tf_mtl.report._page.document import Section
from tf_mtl.report._page.elements import Cell, Markup, Number, details, element, joined, matrix, percent, table

_GAIN = "Delta-m, mean over tasks, as a gain (positive is better)"
_ALL = "0 to 100%"
_DROP = "Delta-m, mean over metrics, as a drop (positive is worse)"


def comparison(result: Comparison) -> Section:
    """Return multi-task beside single-task results."""
    delta_m = f"{_GAIN}: {result.gain_per_task:+.2%}. {_DROP}: {result.drop_per_metric:+.2%}."
    return Section("Multi-task and single-task training", joined(gain_table(result.rows), element("p", delta_m)))


def gain_table(rows: Sequence[Row]) -> Markup:
    """Return a table of gains; without the column of tasks if they have no names."""
    has_tasks = any(row.task for row in rows)
    largest = _largest(row.gain for row in rows)
    cells = [
        [
            *row[0 if has_tasks else 1 : 4],
            percent(row.gain, signed=True),
            interval(row.gain, math.nan, math.nan, largest),
        ]
        for row in rows
    ]
    header = ["task", "metric", "multi-task", "single-task", "gain", _axis(largest)]
    return table("Gains over single-task training, positive if better", header[0 if has_tasks else 1 :], cells)


def gains(result: evidence.Gains) -> Section:
    """Return the gains of each subset of tasks, with their intervals."""
    parts = (_gains_of(result, tasks) for tasks in result.subsets)
    return Section("Gains", joined(*parts))


def overlap(result: evidence.Overlap) -> Section:
    """Return how many rows the tasks label, alone and in common."""
    labelled = np.diag(result.counts).tolist()
    rows: list[list[Cell]] = [
        [task, count, percent(count / result.rows), bar(count / result.rows)]
        for task, count in zip(result.tasks, labelled, strict=True)
    ]
    texts = [[percent(share).text for share in row] for row in result.shares.tolist()]
    caption = "Rows that two tasks label in common, over those that one of them labels"
    return Section(
        "Data and labels",
        joined(
            table(f"Labels of each task in {result.rows:,} rows", ["task", "labelled rows", "fraction", _ALL], rows),
            matrix(caption, "task", result.tasks, result.tasks, result.shares, texts, largest=1),
        ),
    )


def affinity(result: evidence.Affinity) -> Section:
    """Return the affinities between tasks, and where their gradients conflict."""
    steps, losses = ([f"{text} {task}" for task in result.tasks] for text in ("step for", "loss of"))
    caption = "How much a step for one task reduces the loss of another. Below 0, it increases the loss."
    parts = [matrix(caption, "step", steps, losses, result.matrix)]
    if result.few_common_rows:
        pairs = ", ".join(f"{one} and {other}" for one, other in result.few_common_rows)
        note = f"These tasks label few rows in common, so their gradients differ by the rows alone: {pairs}."
        parts.append(element("p", note))
    if result.conflicts:
        rows: list[list[Cell]] = [
            [layer, percent(fraction), None if math.isnan(fraction) else bar(fraction)]
            for layer, fraction in result.conflicts.items()
        ]
        caption = "Pairs of tasks whose gradients have a negative cosine, as a fraction of all pairs and batches"
        parts.append(table(caption, ["layer", "conflicts", _ALL], rows))
        cosines = (
            matrix(f"Cosines in {layer}", "task", result.tasks, result.tasks, values, largest=1)
            for layer, values in result.cosines.items()
        )
        parts.append(details("Cosines between gradients in each layer", *cosines))
    return Section("Affinity and conflicts", joined(*parts))


def grouping(result: evidence.Grouping) -> Section:
    """Return the best groups beside the runner-up."""
    rows: list[list[Cell]] = [["best" if result.is_exact else "best found", _groups(result.groups), result.score]]
    if result.runner_up:
        rows.append(["runner-up", _groups(result.runner_up), result.runner_up_score])
    return Section("Groups", table("Groups of tasks to train together", ["choice", "groups", "score"], rows))


def _gains_of(result: evidence.Gains, tasks: tuple[str, ...]) -> Markup:
    metrics = result.of(tasks)
    largest = _largest(bound for each in metrics for bound in (each.gain.mean, each.gain.low, each.gain.high))
    rows: list[list[Cell]] = [
        [
            *(each.task, each.metric, each.multi_task, each.single_task, percent(each.gain.mean, signed=True)),
            Number(_bounds(each.gain)),
            interval(each.gain.mean, each.gain.low, each.gain.high, largest),
            each.verdict,
        ]
        for each in metrics
    ]
    header = ["task", "metric", "multi-task", "single-task", "gain", "95% interval", _axis(largest), "verdict"]
    gain, drop = (
        f"{text}: {value.mean:+.2%} {_bounds(value)}".rstrip()
        for text, value in ((_GAIN, result.gain_per_task(tasks)), (_DROP, result.drop_per_metric(tasks)))
    )
    seeds = len(result.seeds)
    caption = f"Gains over single-task training, positive if better; {seeds} seed{'s' if seeds > 1 else ''}"
    return joined(element("h3", ", ".join(tasks)), table(caption, header, rows), element("p", f"{gain}. {drop}."))


def _bounds(gain: evidence.Interval) -> str:
    return "" if math.isnan(gain.low) else f"[{gain.low:+.2%}, {gain.high:+.2%}]"


def _largest(values: Iterable[float]) -> float:
    """The end of an axis that shows all finite values."""
    return max((abs(value) for value in values if math.isfinite(value)), default=0.0) or 1.0


def _axis(largest: float) -> str:
    return f"{-largest:.1%} to {largest:+.1%}"


def _groups(groups: Sequence[Sequence[str]]) -> str:
    return " ".join(f"({', '.join(tasks)})" for tasks in groups)
