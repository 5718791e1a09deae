"""Checks of the arguments that several methods take."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from tf_mtl._arguments import is_number
from tf_mtl._names import check_names, nearest

Choice = TypeVar("Choice")


def one_of(argument: str, value: Choice, choices: Sequence[Choice]) -> Choice:
    """Return `value` if it is one of `choices`.

    Raises:
        ValueError: if it is not.
    """
    if value not in choices:
        hint = nearest(str(value), [str(choice) for choice in choices])
        raise ValueError(f"`{argument}` must be one of {list(choices)}, received {value!r}.{hint}")
    return value


def per_task(argument: str, values: Mapping[str, float] | Sequence[float]) -> dict[str, float] | list[float]:
    """Return a copy of `values`, one number per task, by name or in the order of the tasks.

    Raises:
        TypeError: if they are neither a dict nor a list.
        ValueError: if a number is negative or not finite, or all are zero.
    """
    if isinstance(values, str) or not isinstance(values, (Mapping, Sequence, np.ndarray)):
        raise TypeError(f"`{argument}` must be {{task: number}}, or a list of numbers, received {values!r}.")
    numbers = list(values.values()) if isinstance(values, Mapping) else list(values)
    if any(not is_number(n) or not 0 <= n < float("inf") for n in numbers) or not any(numbers):
        raise ValueError(
            f"`{argument}` must contain finite numbers of at least 0, and one above 0, received {values!r}."
        )
    return dict(values) if isinstance(values, Mapping) else [float(n) for n in numbers]


def in_task_order(
    argument: str,
    values: Mapping[str, float] | Sequence[float],
    tasks: Sequence[str],
    size: int,
    default: float | None = None,
) -> np.ndarray:
    """Return the tasks' numbers [T], in the order of the tasks.

    Args:
        argument: Its name, for messages.
        values: The result of `per_task`.
        tasks: The tasks' names; empty outside a model.
        size: T.
        default: The number of tasks that `values` does not name; None if it must name all.

    Raises:
        ValueError: for unknown or missing names, or another number of values than of tasks.
    """
    if isinstance(values, Mapping):
        if not tasks:
            raise ValueError(
                f"`{argument}` can be a dict only in a compiled model, where the tasks have names, received {values}. "
                "Pass a list to a method outside a model."
            )
        by_task = {**({} if default is None else dict.fromkeys(tasks, default)), **values}
        check_names(argument, by_task, tasks)
        values = [by_task[task] for task in tasks]
    if len(values) != size:
        raise ValueError(
            f"`{argument}` must have one number per task, received {len(values)} for {size} tasks {list(tasks)}."
        )
    return np.array(values, "float64")
