"""Checks of the arguments that several methods take."""

from collections.abc import Mapping, Sequence

import numpy as np

from tf_mtl._names import check_names, nearest

Preference = Mapping[str, float] | Sequence[float] | None


def in_range(
    argument: str,
    value: float,
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` if it is a finite number from `low` to `high`, the ends included unless they are open.

    Raises:
        ValueError: if it is not.
    """
    if _is_number(value) and abs(value) < float("inf"):
        above = low < value if open_low else low <= value
        below = value < high if open_high else value <= high
        if above and below:
            return value
    start = "(" if open_low or low == float("-inf") else "["
    end = ")" if open_high or high == float("inf") else "]"
    raise ValueError(f"`{argument}` must be a number in {start}{low:g}, {high:g}{end}, received {value!r}.")


def one_of(argument: str, value: str, choices: Sequence[str]) -> str:
    """Return `value` if it is one of the choices.

    Raises:
        ValueError: if it is not.
    """
    if value not in choices:
        hint = nearest(value, [str(choice) for choice in choices])
        raise ValueError(f"`{argument}` must be one of {list(choices)}, received {value!r}.{hint}")
    return value


def per_task(argument: str, values: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Return a copy of numbers given by task, or in the order of the tasks.

    Raises:
        TypeError: if they are neither.
        ValueError: if a number is negative or not finite, or all are zero.
    """
    if isinstance(values, str) or not isinstance(values, (Mapping, Sequence, np.ndarray)):
        raise TypeError(f"`{argument}` must be {{task: number}}, or a list of numbers, received {values!r}.")
    numbers = list(values.values()) if isinstance(values, Mapping) else list(values)
    if any(not _is_number(n) or not 0 <= n < float("inf") for n in numbers) or not any(numbers):
        raise ValueError(f"`{argument}` must be finite and not negative, and not all zero, received {values}.")
    return dict(values) if isinstance(values, Mapping) else [float(n) for n in numbers]


def preferred(preference: Preference) -> dict[str, float] | list[float] | None:
    """Return a copy of a preference, or None for none.

    Raises:
        TypeError: if it is neither a dict nor a list.
        ValueError: if a number is negative or not finite, or all are zero.
    """
    return None if preference is None else per_task("preference", preference)


def _is_number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


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
