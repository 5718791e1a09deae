"""Sections on the course of training."""

import itertools
from collections.abc import Sequence

import numpy as np

from tf_mtl.report._history import COSINE, VALIDATION, WEIGHT, History, beginning, pair, quantities
from tf_mtl.report._page.charts import lines, value_range
from tf_mtl.report._page.document import Section
from tf_mtl.report._page.elements import Markup, details, element, joined, matrix, table


def training(history: History) -> Section:
    """Return the curves of all quantities, task by task."""
    parts = []
    for task, names in quantities(history).items():
        of_all = [key for name in names for key in (name, f"{VALIDATION}{name}") if key in history]
        title = task or "All tasks"
        parts += [element("h3", title), _panels(history, task, names), _values(title, history, of_all)]
    note = "Solid lines are training, dashed lines validation." if beginning(history, VALIDATION) else None
    return Section("Training", joined(note and element("p", note), *parts))


def balancing(history: History) -> Section | None:
    """Return the tasks' weights and the cosines between their gradients over time, or None without any."""
    weights, cosines = beginning(history, WEIGHT), beginning(history, COSINE)
    if not weights and not cosines:
        return None
    parts = []
    if weights:
        bounds = value_range(itertools.chain([0.0], *(history[name] for name in weights)))
        panels = (lines(name.removeprefix(WEIGHT), {"weight": history[name]}, bounds) for name in weights)
        parts += [
            element("h3", "Weights"),
            element("div", *panels, class_="panels"),
            _values("Weights", history, weights),
        ]
    if cosines:
        values = np.array([history[name] for name in cosines], float)
        epochs = [f"epoch {epoch}" for epoch in range(1, values.shape[1] + 1)]
        caption = "Cosines between the tasks' gradients. Below 0, gradients conflict."
        table_of_cosines = matrix(caption, "tasks", [pair(name) for name in cosines], epochs, values, largest=1)
        parts += [element("h3", "Gradients"), table_of_cosines]
    return Section("Weights and gradients", joined(*parts))


def _panels(history: History, task: str, names: Sequence[str]) -> Markup:
    panels = []
    for name in names:
        series = {"training": history[name]}
        if f"{VALIDATION}{name}" in history:
            series["validation"] = history[f"{VALIDATION}{name}"]
        panels.append(lines(name.removeprefix(f"{task}_") if task else name, series))
    return element("div", *panels, class_="panels")


def _values(title: str, history: History, names: Sequence[str]) -> Markup:
    """A table of all values."""
    columns = [history[name] for name in names]
    rows = [[f"{epoch}", *values] for epoch, values in enumerate(itertools.zip_longest(*columns), 1)]
    return details("Values of each epoch", table(f"{title}: values of each epoch", ["epoch", *names], rows))
