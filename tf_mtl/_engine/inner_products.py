"""Inner products of gradients, in float32 also where the GPU multiplies matrices in TensorFloat-32.

TensorFloat-32 keeps 10 of the 23 bits of a factor's mantissa. Weightings of nearly parallel gradients depend on small
differences of inner products, which would be lost. So each factor is split into its first bits and a remainder, both of
which TensorFloat-32 keeps.
"""

import tensorflow as tf

_LAST_BITS = 0x1FFF  # those of the mantissa that TensorFloat-32 drops


def inner_products(rows: tf.Tensor) -> tf.Tensor:
    """Return the inner products [T, T] of the rows of a float32 matrix [T, P]."""
    if not _multiplies_in_tensor_float_32():
        return tf.matmul(rows, rows, transpose_b=True)
    first = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(rows, tf.int32), ~_LAST_BITS), tf.float32)
    mixed = tf.matmul(rows - first, first, transpose_b=True)
    return tf.matmul(first, first, transpose_b=True) + mixed + tf.transpose(mixed)


def _multiplies_in_tensor_float_32():
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    return enabled and bool(tf.config.list_logical_devices("GPU"))
