"""The batches of inputs that models are explained on."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

_ROWS = 32


def batches(x: Any) -> Iterator[Any]:
    """Yield the inputs of each batch of a data set, or those of arrays in batches.

    Args:
        x: Arrays as the model takes them, or a data set of batches of inputs, with or without labels.

    Raises:
        ValueError: for an endless data set, or no rows.
    """
    is_empty = True
    for batch in batched(x, "x"):
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        is_empty = False
        yield inputs
    if is_empty:
        raise ValueError("`x` must have at least one row, received none.")


def batched(data: Any, argument: str) -> tf.data.Dataset:
    """Return a data set of batches that ends: `data` itself, or that of arrays.

    Args:
        data: A data set of batches, or arrays.
        argument: Its name, for the message.

    Raises:
        ValueError: for an endless data set.
    """
    if not isinstance(data, tf.data.Dataset):
        return tf.data.Dataset.from_tensor_slices(data).batch(_ROWS)
    if int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            f"`{argument}` must end, received an endless data set. Pass it before `repeat`, or use `take`."
        )
    return data
