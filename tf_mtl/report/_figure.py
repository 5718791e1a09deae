"""Figures of panels, drawn without a display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

DPI = 110


def grid(number: int, size: tuple[float, float], columns: int = 3) -> tuple[Any, list[Any]]:
    """Return a figure of matplotlib and its panels, which are empty.

    Args:
        number: The number of panels.
        size: Width and height of a panel, in inches.
        columns: The most panels in a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(1, min(columns, number))
    height = max(1, -(-number // width))
    figure = Figure(figsize=(size[0] * width, size[1] * height), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(height, width, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    return figure, panels[:number]


def show_image(panel: Any, image: Any) -> None:
    """Show pixels [H, W, C] from 0 to 255; positions count from the edges of pixels, not from their centres."""
    pixels = np.clip(np.asarray(image), 0, 255).astype("uint8").squeeze()
    panel.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0, pixels.shape[1], pixels.shape[0], 0))


def legend_below(figure: Any, names: Mapping[int, str]) -> None:
    """Write the names of classes, by index, beside their colours below the panels."""
    from matplotlib.patches import Patch

    patches = [Patch(color=colour(index), label=name) for index, name in names.items()]
    columns = max(1, int(figure.get_figwidth() / 1.2))
    figure.legend(handles=patches, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)


def colour(index: int) -> tuple[float, float, float]:
    """Return the colour of a class; there are twenty, ten and their light forms, which repeat."""
    from matplotlib import colormaps

    return colormaps["tab20"](2 * (index % 10) + index // 10 % 2)[:3]


def save(figure: Any, path: str | Path) -> Path:
    """Save a figure as a PNG file, and return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    return path
