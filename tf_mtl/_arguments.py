"""Checks of arguments that many functions take."""

from typing import Any

import numpy as np


def integer(argument: str, value: Any, least: int, none: bool = False) -> Any:
    """Return `value` as an int if it is an integer that is at least `least`.

    Args:
        argument: Its name, for the message.
        value: The value received.
        least: The smallest integer allowed.
        none: Whether None is allowed as well.

    Raises:
        ValueError: for anything else.
    """
    if none and value is None:
        return None
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < least:
        raise ValueError(f"`{argument}` must be an integer, at least {least}{', or None' * none}, received {value!r}.")
    return int(value)


def in_range(
    argument: str,
    value: float,
    low: float = float("-inf"),
    high: float = float("inf"),
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` if it is a finite number between `low` and `high`; the ends are included unless they are open.

    Raises:
        ValueError: if it is not.
    """
    if is_number(value) and abs(value) < float("inf"):
        is_above = low < value if open_low else low <= value
        is_below = value < high if open_high else value <= high
        if is_above and is_below:
            return value
    start = "(" if open_low or low == float("-inf") else "["
    end = ")" if open_high or high == float("inf") else "]"
    raise ValueError(f"`{argument}` must be a number in {start}{low:g}, {high:g}{end}, received {value!r}.")


def is_number(value: Any) -> bool:
    """Return whether `value` is an integer or a float of Python or NumPy."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
