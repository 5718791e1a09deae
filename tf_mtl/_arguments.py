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
