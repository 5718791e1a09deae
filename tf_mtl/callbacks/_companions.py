"""What the other callbacks of a training run have counted so far."""

import inspect
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np


class Companions:
    """The state of callbacks: attributes that are numbers or lists of arrays, and no arguments of the constructor.

    Such are `wait`, `best` and `best_weights` of `EarlyStopping`, whereas `patience` is not.

    Args:
        callbacks: The callbacks of a run.
        owner: The one that saves, which is left out.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], owner: keras.callbacks.Callback):
        self._callbacks = [callback for callback in callbacks if callback is not owner]

    def state(self) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
        """Return by callback the numbers and the sizes of lists of arrays, and all arrays in a row."""
        found, arrays = [], []
        for attributes in map(_attributes, self._callbacks):
            numbers = {name: value for name, value in attributes.items() if isinstance(value, (bool, int, float))}
            lists = {name: value for name, value in attributes.items() if _is_arrays(value)}
            arrays += [array for value in lists.values() for array in value]
            found.append({"numbers": numbers, "lists": {name: len(value) for name, value in lists.items()}})
        return found, arrays

    def restore(self, state: Sequence[dict[str, Any]], arrays: Sequence[np.ndarray]) -> None:
        """Let the callbacks go on from what `state` returned."""
        arrays = iter(arrays)
        for callback, found in zip(self._callbacks, state, strict=False):
            for name, value in found["numbers"].items():
                setattr(callback, name, value)
            for name, size in found["lists"].items():
                setattr(callback, name, [next(arrays) for _ in range(size)])


def _attributes(callback):
    arguments = {name for kind in type(callback).__mro__ for name in inspect.signature(kind.__init__).parameters}
    found = {name: value for name, value in vars(callback).items() if name not in arguments}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in found.items()}


def _is_arrays(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, np.ndarray) for item in value)
