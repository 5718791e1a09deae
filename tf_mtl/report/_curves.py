"""Training curves as an image."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._figure import save
from tf_mtl.report._history import COSINE, VALIDATION, WEIGHT, History, beginning, pair, quantities

_MOST_PANELS = 4  # in a row


def curves(history: History, path: str | Path) -> Path:
    """Plot a training history over the epochs, and save a PNG file.

    The first row has what concerns all tasks, such as the loss. Each task has a row with its loss and then its metrics,
    in training and validation. At the end come the weights that balancing gave the tasks, as shares of their sum, and
    the cosines between the tasks' gradients, if there are any. It needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        history: The attribute `history` of the object that `fit` returns.
        path: The file to write.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the history is empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [
        (title, names[first : first + _MOST_PANELS])
        for title, names in quantities(history).items()
        for first in range(0, len(names), _MOST_PANELS)
    ]
    weights, cosines = beginning(history, WEIGHT), beginning(history, COSINE)
    balancing = [part for part in ((_plot_weights, weights), (_plot_cosines, cosines)) if part[1]]
    columns = max(1, *(len(names) for _, names in rows))
    figure = Figure(figsize=(max(3.6 * columns, 4.5 * len(balancing)), 2.4 * (len(rows) + bool(balancing))))
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    above, *below = figure.subfigures(
        1 + bool(balancing), 1, squeeze=False, height_ratios=_heights(rows, balancing)
    ).flat
    panels = above.subplots(len(rows), columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    for (title, names), row in zip(rows, panels, strict=False):
        for name, panel in zip(names, row, strict=False):
            _plot_values(panel, history, name, f"{title}: {name.removeprefix(f'{title}_')}" if title else name)
    for part in below:
        for (plot, names), panel in zip(balancing, part.subplots(1, len(balancing), squeeze=False).flat, strict=True):
            plot(panel, history, names)
    legend = [panel for panel in panels.flat if len(panel.get_lines()) > 1]
    if legend:
        legend[0].legend(fontsize=8)
    return save(figure, path)


def _heights(rows: Sequence[Any], balancing: Sequence[Any]) -> list[int]:
    return [len(rows), 1] if balancing else [len(rows)]


def _panel(panel: Any, title: str, epochs: int) -> None:
    """Prepare a panel."""
    panel.set_axis_on()
    panel.set_title(title, fontsize=9)
    panel.set_xlabel("epoch", fontsize=8)
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.tick_params(labelsize=8)
    if epochs == 1:
        panel.set_xticks([1])


def _plot_values(panel: Any, history: History, name: str, title: str) -> None:
    """Plot a quantity in training and validation."""
    for key, label, style in ((name, "training", "-"), (f"{VALIDATION}{name}", "validation", "--")):
        if key in history:
            panel.plot(range(1, len(history[key]) + 1), history[key], style, marker=".", label=label)
    _panel(panel, title, len(history[name]))
    panel.grid(alpha=0.3)


def _plot_weights(panel: Any, history: History, names: Sequence[str]) -> None:
    """Plot the tasks' weights as shares of their sum."""
    weights = np.maximum(np.array([history[name] for name in names], float), 0)
    total = weights.sum(0)
    shares = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    epochs = shares.shape[1]
    edges = np.arange(epochs + 1) + 0.5
    tasks = [name.removeprefix(WEIGHT) for name in names]
    panel.stackplot(edges, np.concatenate([shares, shares[:, -1:]], 1), labels=tasks, step="post", alpha=0.8)
    _panel(panel, "weights, as shares of their sum", epochs)
    panel.set_xlim(edges[0], edges[-1])
    panel.set_ylim(0, 1)
    panel.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))


def _plot_cosines(panel: Any, history: History, names: Sequence[str]) -> None:
    """Plot the cosines between gradients as a heat map, a row for each pair of tasks."""
    values = np.array([history[name] for name in names], float)
    epochs = values.shape[1]
    _panel(panel, "cosines between gradients", epochs)
    image = panel.imshow(
        values, cmap="RdBu", vmin=-1, vmax=1, aspect="auto", extent=(0.5, epochs + 0.5, len(names) - 0.5, -0.5)
    )
    panel.set_yticks(range(len(names)), [pair(name) for name in names], fontsize=7)
    panel.figure.colorbar(image, ax=panel).ax.tick_params(labelsize=7)
