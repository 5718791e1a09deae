"""What the other callbacks of a training run have counted so far."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Companions:
    """The numbers and lists of arrays that callbacks have changed since training began.

    Such are `wait`, `best` and `best_weights` of `EarlyStopping`.

    Args:
        callbacks: The callbacks of a run.
        owner: The one that saves, which is left out.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], owner: keras.callbacks.Callback):
        self._callbacks = [callback for callback in callbacks if callback is not owner]
        self._first: list[dict[str, Any]] | None = None

    def begin(self) -> None:
        """Take notice of how the callbacks begin."""
        if self._first is None:
            self._first = [_numbers(callback) for callback in self._callbacks]

    def changed(self) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Return by callback the numbers changed since and the sizes of lists of arrays, and all arrays in a row."""
        found, arrays = [], []
        for callback, first in zip(self._callbacks, self._first or [], strict=False):
            numbers = {name: value for name, value in _numbers(callback).items() if value != first.get(name)}
            lists = {name: value for name, value in vars(callback).items() if _is_arrays(value)}
            arrays += [array for value in lists.values() for array in value]
            found.append({"numbers": numbers, "lists": {name: len(value) for name, value in lists.items()}})
        return found, arrays

    def restore(self, changed: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray]) -> None:
        """Let the callbacks go on from what `changed` returned."""
        self.begin()
        arrays = iter(arrays)
        for callback, found in zip(self._callbacks, changed, strict=False):
            for name, value in found["numbers"].items():
                setattr(callback, name, value)
            for name, size in found["lists"].items():
                setattr(callback, name, [next(arrays) for _ in range(size)])


def _numbers(callback):
    found = {name: v.item() if isinstance(v, np.generic) else v for name, v in vars(callback).items()}
    return {name: value for name, value in found.items() if isinstance(value, (bool, int, float))}


def _is_arrays(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, np.ndarray) for item in value)
