"""Checks of the arguments that several methods take."""

from collections.abc import Mapping, Sequence

import numpy as np

from tf_mtl._names import check_names

Preference = Mapping[str, float] | Sequence[float] | None


def in_range(argument: str, value: float, low: float, high: float = float("inf"), *, open_low: bool = False) -> float:
    """Return `value` if it lies in [low, high] or, with `open_low`, in (low, high].

    Raises:
        ValueError: if it does not.
    """
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not (low < value if open_low else low <= value) or not value <= high or value == float("inf"):
        end = ")" if high == float("inf") else "]"
        raise ValueError(
            f"`{argument}` must be a number in {'(' if open_low else '['}{low:g}, {high:g}{end}, received {value!r}."
        )
    return value


def one_of(argument: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the choices.

    Raises:
        ValueError: if it is not.
    """
    if value not in choices:
        raise ValueError(f"`{argument}` must be one of {list(choices)}, received {value!r}.")
    return value


def per_task(argument: str, values: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Return a copy of numbers given by task, or in the order of the tasks.

    Raises:
        ValueError: if a number is negative or not finite, or all are zero.
    """
    numbers = list(values.values()) if isinstance(values, Mapping) else list(values)
    if any(not 0 <= number < float("inf") for number in numbers) or not any(numbers):
        raise ValueError(f"`{argument}` must be finite and not negative, and not all zero, received {values}.")
    return dict(values) if isinstance(values, Mapping) else numbers


def in_order(
    argument: str, values: dict[str, float] | list[float], tasks: Sequence[str], size: int, default: float | None = None
) -> np.ndarray:
    """Return the tasks' numbers [T].

    Args:
        argument: Its name, for messages.
        values: What `per_task` returned.
        tasks: The tasks' names; none outside a model.
        size: T.
        default: The number of tasks that are not named; None where all must be.

    Raises:
        ValueError: for unknown or missing names, or another number of values than of tasks.
    """
    if isinstance(values, dict):
        if not tasks:
            raise ValueError(f"`{argument}` by task needs a model, which names the tasks. Outside one pass a list.")
        named = dict.fromkeys(tasks, default) if default is not None else {}
        check_names(argument, {**named, **values}, tasks)
        values = [{**named, **values}[task] for task in tasks]
    if len(values) != size:
        raise ValueError(
            f"`{argument}` must have one number per task, received {len(values)} for {size} tasks {list(tasks)}."
        )
    return np.array(values, "float64")


def importance(preference: dict[str, float] | list[float] | None, tasks: Sequence[str], size: int) -> np.ndarray:
    """Return the tasks' importance [T], which sums to 1; tasks that a preference leaves out count 1 before that."""
    found = np.ones(size) if preference is None else in_order("preference", preference, tasks, size, 1.0)
    return found / found.sum()
