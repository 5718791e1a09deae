"""Random tokens that depend on a seed and a position alone."""

from typing import Any

import numpy as np
import tensorflow as tf


def drawn(probabilities: tf.Tensor, seed: int, position: Any, length: int) -> tf.Tensor:
    """Return an index for each row, drawn by its probabilities, int32 [B].

    The random number of a position is the same for all rows, so a row's text does not depend on its batch. It is a
    constant of the graph, since TensorFlow's own random numbers are others under XLA.

    Args:
        probabilities: What the indices are drawn by, [B, n]; they need not add up to 1.
        seed: The seed of the random numbers.
        position: The position of each row's token, int32 [B].
        length: The number of positions.
    """
    uniform = tf.gather(tf.constant(np.random.default_rng(seed).random(length), tf.float32), position)
    sums = tf.cumsum(probabilities, -1)
    return tf.reduce_sum(tf.cast(sums[:, :-1] <= uniform[:, None] * sums[:, -1:], tf.int32), -1)
