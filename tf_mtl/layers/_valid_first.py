"""The order that moves the valid positions of a row to its front."""

import tensorflow as tf


def valid_first(mask: tf.Tensor) -> tf.Tensor:
    """Return the positions of each row [B, S]: the valid ones, then the others, both in increasing order."""
    length = tf.shape(mask)[1]
    positions = tf.range(length)
    return tf.argsort(tf.where(tf.cast(mask, tf.bool), positions, positions + length), 1)
