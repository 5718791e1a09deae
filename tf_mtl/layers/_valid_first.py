"""The order that moves a sequence's valid positions to its start."""

import tensorflow as tf


def valid_first(mask: tf.Tensor) -> tf.Tensor:
    """Return the positions [B, S] of each row: valid ones first, and both kinds in their own order."""
    size = tf.shape(mask)[1]
    invalid = tf.cast(~tf.cast(mask, tf.bool), tf.int32)
    return tf.argsort(tf.range(size) + size * invalid, 1)
