"""The order that moves the valid positions of a row to its front."""

import numpy as np
import pytest
import tensorflow as tf

from tf_mtl.layers._valid_first import valid_first


@pytest.mark.parametrize("dtype", [bool, "float32"])
@pytest.mark.parametrize("compiled", [False, True])
def test_order(dtype, compiled):
    mask = np.random.default_rng(0).random((40, 50)) < np.linspace(0, 1, 40)[:, None]
    signature = [tf.TensorSpec([None, None], dtype)]
    order = tf.function(valid_first, input_signature=signature, jit_compile=compiled)(mask.astype(dtype)).numpy()
    expected = [[*np.flatnonzero(row), *np.flatnonzero(~row)] for row in mask]
    assert order.tolist() == np.array(expected).tolist()


def test_no_rows_and_one_position():
    assert valid_first(tf.zeros([0, 3], tf.bool)).shape == (0, 3)
    assert valid_first(tf.constant([[False], [True]])).numpy().tolist() == [[0], [0]]
