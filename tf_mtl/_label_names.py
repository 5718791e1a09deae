"""From the names of classes to numbers: one definition for arrays, data sets and records."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


def class_indices(names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Return the indices of names, str or bytes, among the classes, int32; -1 for other names."""
    index_of_name = {name: index for index, name in enumerate(classes)}
    indices = [index_of_name.get(text(name), -1) for name in names.ravel().tolist()]
    return np.array(indices, "int32").reshape(names.shape)


def class_cells(lists: Iterable[Any], classes: Sequence[str]) -> tuple[np.ndarray, list[list[str]]]:
    """Return lists of names as cells, float32 [B, C], and the names in each list that are not classes.

    Empty names are left out, so that lists may be padded.
    """
    index_of_name = {name: index for index, name in enumerate(classes)}
    rows = [[text(name) for name in np.ravel(names).tolist()] for names in lists]
    cells = np.zeros((len(rows), len(classes)), "float32")
    for cell, row in zip(cells, rows, strict=True):
        cell[[index_of_name[name] for name in row if name in index_of_name]] = 1
    return cells, [[name for name in row if name != "" and name not in index_of_name] for row in rows]


def text(name: Any) -> Any:
    """Return a name in bytes as a string, and others unchanged."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name
