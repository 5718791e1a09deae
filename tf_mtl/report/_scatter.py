"""Scatter plots of each two columns, as an image."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path


def scatter(columns: Mapping[str, Sequence[float]], path: str | Path, marked: Sequence[bool], label: str) -> Path:
    """Plot each two columns against each other, and save a PNG file.

    It needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        columns: `{name: values}`, at least two, with as many values each.
        path: The file to write.
        marked: The rows to mark.
        label: What the marked rows are.

    Returns:
        The path of the file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pairs = list(itertools.combinations(columns, 2))
    width = min(3, len(pairs))
    height = -(-len(pairs) // width)
    figure = Figure(figsize=(4.2 * width, 3.6 * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(height, width, squeeze=False).flat
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    for (one, other), panel in zip(pairs, panels, strict=False):
        for is_marked, style in ((False, {"color": "0.6"}), (True, {"color": "C3", "marker": "*", "s": 80})):
            rows = [index for index, mark in enumerate(marked) if bool(mark) is is_marked]
            values = [[columns[name][row] for row in rows] for name in (one, other)]
            panel.scatter(*values, label=label if is_marked else None, **style)
        panel.set_xlabel(one)
        panel.set_ylabel(other)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
