"""Scatter plots of each two columns, as an image."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

from tf_mtl.report._figure import grid, save


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
    pairs = list(itertools.combinations(columns, 2))
    figure, panels = grid(len(pairs), (4.2, 3.6))
    for (one, other), panel in zip(pairs, panels, strict=True):
        panel.set_axis_on()
        for is_marked, style in ((False, {"color": "0.6"}), (True, {"color": "C3", "marker": "*", "s": 80})):
            rows = [index for index, mark in enumerate(marked) if bool(mark) is is_marked]
            values = [[columns[name][row] for row in rows] for name in (one, other)]
            panel.scatter(*values, label=label if is_marked else None, **style)
        panel.set_xlabel(one)
        panel.set_ylabel(other)
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    return save(figure, path)
