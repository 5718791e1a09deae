"""How long an epoch is, where the data do not end by themselves."""

from typing import Any

import tensorflow as tf

from tf_mtl.data import Mixture


def steps_per_epoch_of(data: Any, steps: int | None) -> int | None:
    """Return the number of batches of an epoch: the given one, a mixture's own, or None for all batches."""
    return len(data) if isinstance(data, Mixture) and steps is None else steps


def one_epoch(argument: str, data: Any, steps: int | None, remedy: str) -> Any:
    """Return the data; of a mixture one epoch, where no number of steps is given.

    Raises:
        ValueError: for other endless data.
    """
    check_finite(argument, data, steps, remedy)
    return data.take(len(data)) if isinstance(data, Mixture) and steps is None else data


def check_finite(argument: str, data: Any, steps: int | None, remedy: str) -> None:
    """Raise for an endless data set without a number of steps, unless it is a mixture, which knows its epochs.

    Raises:
        ValueError: naming the argument, and `remedy`, the argument that gives the number of steps.
    """
    if steps is not None or isinstance(data, Mixture) or not isinstance(data, tf.data.Dataset):
        return
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{argument}` is an endless data set, received without a number of steps. Pass `{remedy}`, or "
            f"`{argument}.take(steps)`; a mixture knows its epochs unless a transformation comes after `mix`."
        )
