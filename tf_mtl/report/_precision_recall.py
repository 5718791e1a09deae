"""Precision over recall."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._figure import colour, grid, save


def precision_recall(curves: Mapping[str, Any], path: str | Path) -> Path:
    """Draw curves of precision over recall, and save a PNG file.

    It needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        curves: `{name: precisions}` at evenly spaced recalls from 0 to 1, as
            `tf_mtl.metrics.MeanAveragePrecision.curves` returns them. The legend has their means.
        path: The file to write.

    Returns:
        The path of the file.

    Example:

    >>> import tempfile
    >>> curves = {"cat": [1.0, 1.0, 0.6], "dog": [1.0, 0.5, 0.0]}
    >>> mtl.report.precision_recall(curves, tempfile.mkdtemp() + "/precision_recall.png").name
    'precision_recall.png'
    """
    figure, (panel,) = grid(1, (4.6, 3.8))
    panel.set_axis_on()
    for index, (name, precisions) in enumerate(curves.items()):
        label = f"{name}, mean {np.mean(precisions):.3f}"
        panel.plot(np.linspace(0, 1, len(precisions)), precisions, color=colour(index), label=label)
    panel.set_xlabel("recall")
    panel.set_ylabel("precision")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=8, loc="lower left")
    return save(figure, path)
