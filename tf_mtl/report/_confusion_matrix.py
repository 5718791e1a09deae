"""Which classes are taken for which others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tf_mtl.report._figure import grid, save


def confusion_matrix(
    labels: Any, predictions: Any, classes: Sequence[str], path: str | Path, weights: Any = None
) -> np.ndarray:
    """Count the labelled and predicted classes, draw the counts, and save a PNG file.

    A row is a labelled class, a column a predicted one. Colours are shares of the row. It needs matplotlib
    (`pip install tf_mtl[recipes]`).

    Args:
        labels: The labelled classes, of any shape: their indices or names. Any other, such as -1, 255 or "", does not
            count.
        predictions: The predicted ones, of the same shape.
        classes: The names of the C classes.
        path: The file to write.
        weights: Label weights of the same shape: rows of weight 0 do not count, and others count as 1. None for all.

    Returns:
        The counts [C, C].

    Raises:
        ValueError: for arrays of different shapes.

    Example:

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/confusion.png"
    >>> mtl.report.confusion_matrix([0, 0, 1, -1], [0, 1, 1, 1], ["cat", "dog"], path).tolist()
    [[1, 1], [0, 1]]
    """
    labels, predictions = _indices(labels, classes), _indices(predictions, classes)
    weights = np.ones(labels.shape) if weights is None else np.asarray(weights)
    if not labels.shape == predictions.shape == weights.shape:
        raise ValueError(
            f"`labels`, `predictions` and `weights` must have one shape, received {labels.shape}, {predictions.shape} "
            f"and {weights.shape}."
        )
    number = len(classes)
    counted = (labels >= 0) & (labels < number) & (predictions >= 0) & (predictions < number) & (weights > 0)
    pairs = labels[counted].astype(int) * number + predictions[counted].astype(int)
    counts = np.bincount(pairs, minlength=number**2).reshape(number, number)
    _draw(counts, list(classes), path)
    return counts


def _indices(values, classes):
    """Classes as indices, -1 for unknown names."""
    values = np.asarray(values)
    if values.dtype.kind not in "OSU":
        return values
    index = {name: number for number, name in enumerate(classes)}
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in values.ravel().tolist()]
    return np.array([index.get(name, -1) for name in names]).reshape(values.shape)


def _draw(counts, classes, path):
    number = len(classes)
    side = max(3.0, 0.55 * number + 1)
    figure, (panel,) = grid(1, (side, side))
    panel.set_axis_on()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(number, number):
        text = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, counts[row, column], ha="center", va="center", color=text, fontsize=8)
    panel.set_xticks(range(number), classes, rotation=45, ha="right", fontsize=8)
    panel.set_yticks(range(number), classes, fontsize=8)
    panel.set_xlabel("predicted")
    panel.set_ylabel("labelled")
    save(figure, path)
