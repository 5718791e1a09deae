"""The state of the other callbacks of a training run, as JSON values and arrays."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np


class States(NamedTuple):
    """The state of several callbacks.

    Attributes:
        attributes: For each callback `{"numbers": {attribute: number}, "lists": {attribute: number of arrays}}`.
        arrays: The arrays of all lists, in the order of `attributes`.
    """

    attributes: list[dict[str, Any]]
    arrays: list[np.ndarray]


class CallbackStates:
    """Saves and restores callbacks' attributes that are numbers or lists of arrays and not constructor arguments.

    Of `EarlyStopping`, these are `wait`, `best` and `best_weights`, for example, but not `patience`.

    Args:
        callbacks: The callbacks of a run.
        excluded: The callback that saves the states, whose own state is left out.
    """

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback], excluded: keras.callbacks.Callback):
        self._callbacks = [callback for callback in callbacks if callback is not excluded]

    def save(self) -> States:
        """Return the states of the callbacks."""
        states = States([], [])
        for attributes in map(_state_attributes, self._callbacks):
            numbers = {name: value for name, value in attributes.items() if isinstance(value, (bool, int, float))}
            lists = {name: value for name, value in attributes.items() if _is_list_of_arrays(value)}
            states.attributes.append({"numbers": numbers, "lists": {name: len(value) for name, value in lists.items()}})
            states.arrays.extend(array for value in lists.values() for array in value)
        return states

    def restore(self, states: States) -> None:
        """Set the callbacks' attributes to states that `save` returned."""
        arrays = iter(states.arrays)
        for callback, attributes in zip(self._callbacks, states.attributes, strict=False):
            for name, value in attributes["numbers"].items():
                setattr(callback, name, value)
            for name, size in attributes["lists"].items():
                setattr(callback, name, [next(arrays) for _ in range(size)])


def _state_attributes(callback: keras.callbacks.Callback) -> dict[str, Any]:
    constructors = [vars(kind)["__init__"] for kind in type(callback).__mro__ if "__init__" in vars(kind)]
    arguments = {name for constructor in constructors for name in inspect.signature(constructor).parameters}
    attributes = {name: value for name, value in vars(callback).items() if name not in arguments}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in attributes.items()}


def _is_list_of_arrays(value):
    return isinstance(value, list) and bool(value) and all(isinstance(item, np.ndarray) for item in value)
