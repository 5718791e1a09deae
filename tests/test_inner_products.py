"""Inner products in float32, on a machine that multiplies matrices in TensorFloat-32."""

import numpy as np
import tensorflow as tf

from tf_mtl._engine import inner_products


def in_tensor_float_32(x):
    """Round to nearest with a mantissa of 10 bits, as a GPU does before it multiplies."""
    bits = tf.bitcast(x, tf.int32)
    return tf.bitcast(tf.bitwise.bitwise_and(bits + 0x1000, ~0x1FFF), tf.float32)


def test_nearly_parallel_rows(monkeypatch):
    random = np.random.default_rng(0)
    rows = (random.normal(size=5000) + 1e-2 * random.normal(size=(4, 5000))).astype("float32")
    expected = rows.astype("float64") @ rows.astype("float64").T
    matmul = tf.matmul
    monkeypatch.setattr(
        tf, "matmul", lambda a, b, **options: matmul(in_tensor_float_32(a), in_tensor_float_32(b), **options)
    )

    def error():
        return np.abs(inner_products.inner_products(tf.constant(rows)) / expected - 1).max()

    assert error() > 1e-6
    monkeypatch.setattr(inner_products, "_multiplies_in_tensor_float_32", lambda: True)
    assert error() < 3e-7
