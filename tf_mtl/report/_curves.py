"""Training curves as an image."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def curves(history: Mapping[str, Sequence[float]], path: str | Path, columns: int = 3) -> Path:
    """Plot each quantity of a training history over the epochs, with its validation values, and save a PNG file.

    It needs matplotlib (`pip install tf_mtl[recipes]`).

    Args:
        history: The attribute `history` of the object that `fit` returns.
        path: The file to write.
        columns: The number of panels in a row.

    Returns:
        The path of the file.

    Raises:
        ValueError: if the history is empty.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [name for name in history if not name.startswith("val_")]
    if not names:
        raise ValueError("`history` must contain at least one quantity, received none.")
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for name, panel in zip(names, panels, strict=False):
        epochs = range(1, len(history[name]) + 1)
        panel.plot(epochs, history[name], marker=".", label="training")
        if f"val_{name}" in history:
            panel.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("epoch", fontsize=8)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.tick_params(labelsize=8)
        panel.grid(alpha=0.3)
    for unused in panels:
        unused.set_axis_off()
    figure.axes[0].legend(fontsize=8)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
