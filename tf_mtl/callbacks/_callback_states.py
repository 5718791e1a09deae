"""The state of the other callbacks of a training run, as JSON values and arrays."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from tf_mtl.callbacks._checkpoint_files import typed

_MONITORS = " of "


class States(NamedTuple):
    """The state of several callbacks.

    Attributes:
        attributes: For each callback `{"name": ..., "numbers": {attribute: number}, "lists": {attribute: number of
            arrays}, "dtypes": {attribute: their types}}`.
        arrays: The arrays of all lists, in the order of `attributes`.
    """

    attributes: list[dict[str, Any]]
    arrays: list[np.ndarray]


class CallbackStates:
    """Saves and restores callbacks' attributes that are numbers or lists of arrays and not constructor arguments.

    Of `EarlyStopping`, these are `wait`, `best` and `best_weights`, for example, but not `patience`. A state belongs to
    a callback of the same class that monitors the same value; among several of these, their order decides.

    Args:
        callbacks: The callbacks of a run.
        excluded: The callback that saves the states, whose own state is left out.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], excluded: keras.callbacks.Callback):
        self._callbacks = [callback for callback in callbacks if callback is not excluded]

    def save(self) -> States:
        """Return the states of the callbacks."""
        states = States([], [])
        for callback in self._callbacks:
            attributes = _state_attributes(callback)
            numbers = {name: value for name, value in attributes.items() if isinstance(value, (bool, int, float))}
            lists = {name: value for name, value in attributes.items() if _is_list_of_arrays(value)}
            sizes = {name: len(value) for name, value in lists.items()}
            dtypes = {name: [array.dtype.name for array in value] for name, value in lists.items()}
            states.attributes.append({"name": _name(callback), "numbers": numbers, "lists": sizes, "dtypes": dtypes})
            states.arrays.extend(array for value in lists.values() for array in value)
        return states

    def restore(self, states: States, with_arrays: bool = True) -> None:
        """Set the callbacks' attributes to states that `save` returned; callbacks without one stay unchanged.

        Args:
            states: The states.
            with_arrays: Whether to restore those that hold arrays, which may be weights, and numbers that belong to
                them.
        """
        arrays = iter(states.arrays)
        for attributes, callback in self._pairs(states):
            lists = {name: [next(arrays) for _ in range(size)] for name, size in attributes["lists"].items()}
            for name, dtypes in attributes.get("dtypes", {}).items():
                lists[name] = [typed(*pair) for pair in zip(lists[name], dtypes, strict=True)]
            if callback is None or (lists and not with_arrays):
                continue
            for attribute, value in {**attributes["numbers"], **lists}.items():
                setattr(callback, attribute, value)

    def missing(self, states: States) -> list[str]:
        """Return the names of callbacks that monitored a value when the states were saved, and are not here."""
        return [
            each["name"] for each, callback in self._pairs(states) if callback is None and _MONITORS in each["name"]
        ]

    def _pairs(self, states):
        left, pairs = list(self._callbacks), []
        for attributes in states.attributes:
            name = attributes.setdefault("name", None)  # version 0.1 has none: the order decides
            callback = next((each for each in left if name in (None, _name(each))), None)
            if callback is not None:
                left.remove(callback)
            pairs.append((attributes, callback))
        return pairs


def _name(callback: keras.callbacks.Callback) -> str:
    monitor = getattr(callback, "monitor", None)
    return type(callback).__name__ + (f"{_MONITORS}{monitor}" if isinstance(monitor, str) else "")


def _state_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    constructors = [vars(kind)["__init__"] for kind in type(callback).__mro__ if "__init__" in vars(kind)]
    arguments = {name for constructor in constructors for name in inspect.signature(constructor).parameters}
    attributes = {name: value for name, value in vars(callback).items() if name not in arguments}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}


def _is_list_of_arrays(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, np.ndarray) for item in value)
