"""What a task is given: hidden layers, stages of the encoder, parts of other tasks, and names of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tf_mtl._arguments import integer

READABLE = ("output", "probabilities", "hidden")


def checked_layers(layers: str | Sequence[int] | None) -> str | list[int] | None:
    """Return the stages of an encoder that a head mixes.

    Raises:
        ValueError: for anything but "all", indices or None.
    """
    if layers is None or (isinstance(layers, str) and layers == "all"):
        return layers
    if isinstance(layers, str) or not len(layers):
        raise ValueError(f'`layers` must be "all", indices of stages, or None, received {layers!r}.')
    return [integer("layers", index, 0) for index in layers]


def checked_hidden_units(units: Any) -> Any:
    """Return the hidden layers of a head: a number of units, several, a layer, or None.

    Raises:
        ValueError: for numbers that are not integers in range.
    """
    if isinstance(units, keras.layers.Layer):
        return units
    if isinstance(units, (list, tuple)) and units:
        return [integer("hidden_units", number, 1) for number in units]
    return integer("hidden_units", units, 0, none=True)


def parts_by_task(name: str, after: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return which part of each other task a head reads.

    Args:
        name: The task's name, for the message.
        after: See `Task`.

    Raises:
        ValueError: for an unknown part.
    """
    after = [after] if isinstance(after, str) else after
    parts = dict(after) if isinstance(after, Mapping) else dict.fromkeys(after, "output")
    for task, part in parts.items():
        if part not in READABLE:
            raise ValueError(f"`after['{task}']` of task '{name}' must be one of {list(READABLE)}, received {part!r}.")
    return parts


def class_names(task: str, labels: Sequence[str] | int, least: int = 2, argument: str = "labels") -> list[str]:
    """Return the names of a task's classes.

    Args:
        task: The task's name, for the message.
        labels: The names, or their number n for the names "0" to "n-1".
        least: The smallest number of classes allowed.
        argument: The name of the argument, for the message.

    Raises:
        ValueError: for fewer than `least` classes, or duplicate names.
    """
    names = [str(i) for i in range(labels)] if isinstance(labels, int) else [str(name) for name in labels]
    if len(names) < least or len(set(names)) < len(names):
        raise ValueError(
            f"`{argument}` of task '{task}' must be at least {least} different names, or their number, received "
            f"{labels}."
        )
    return names
