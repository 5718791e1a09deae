"""Rows that change at random each time they are read, in a way that can be repeated."""

from collections.abc import Callable
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Augment: TypeAlias = Callable[[Any, dict[str, Any], tf.Tensor], tuple[Any, dict[str, Any]]]


def augmented(rows: tf.data.Dataset, augment: Augment, seed: int, first_row: int = 0) -> tf.data.Dataset:
    """Return rows that a function has changed, with a seed that depends on each row's number.

    Args:
        rows: Rows (x, y) or (x, y, weight).
        augment: The function of x, y and a seed, int64 [2].
        seed: The first part of each seed.
        first_row: The number of the first row, the second part of its seed.
    """

    def change(number, row):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(row)
        x, y = augment(x, dict(y), tf.stack([tf.constant(seed, tf.int64), number]))
        return (x, y) if weight is None else (x, y, weight)

    return rows.enumerate(first_row).map(change, num_parallel_calls=tf.data.AUTOTUNE)
