"""Random numbers from a seed that are the same in the plain graph, under XLA and on every device.

TensorFlow's stateless operations draw other numbers under XLA, which Keras uses on one device and not on several.
"""

import tensorflow as tf


def uniform(count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return numbers in (0, 1), [count], float32: hashes of their places (Wellons' lowbias32, two rounds).

    Args:
        count: How many.
        seed: Two integers, [2].
    """
    seed = tf.cast(seed, tf.uint32)
    places = tf.cast(tf.range(count), tf.uint32)
    bits = _mixed(_mixed(places + _mixed(seed[0])) + _mixed(seed[1] + tf.constant(0x9E3779B9, tf.uint32)))
    return (tf.cast(tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32)), tf.float32) + 0.5) / 2.0**24


def normal(count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return standard normal numbers, [count], float32."""
    return 2.0**0.5 * tf.math.erfinv(2 * uniform(count, seed) - 1)


def _mixed(bits):
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(factor, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))
