"""`Krum` and `TrimmedMean` as they promise: one task's gradient may be anything, even infinite or NaN."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine.jacobian import jacobian

B = mtl.balancing
TASKS = "abcde"


def train(method, kernel_of_a, gradients="parameters", jit_compile=False):
    """Return the trunk's weights before and after two steps in which the head of "a" has such a kernel."""
    keras.utils.set_random_seed(0)
    x = keras.Input((4,))
    h = keras.layers.Dense(8, activation="relu", name="shared")(x)
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in TASKS})
    model.get_layer("a").set_weights([np.full((8, 1), kernel_of_a), np.zeros(1)])
    model.compile("sgd", loss="mse", balancing=method, gradients=gradients, jit_compile=jit_compile)
    before = model.get_layer("shared").get_weights()
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    model.fit(x, {task: x.sum(1) for task in TASKS}, batch_size=8, shuffle=False, verbose=0)
    return before, model.get_layer("shared").get_weights()


CASES = [
    *(("parameters", False, value) for value in (1e30, np.inf, np.nan)),
    ("parameters", True, np.nan),
    ("features", False, np.inf),
    ("features", True, np.nan),
]


@pytest.mark.parametrize(("gradients", "jit_compile", "value"), CASES)
def test_krum_takes_the_steps_that_it_takes_for_an_outlier(gradients, jit_compile, value):
    _, expected = train(B.Krum(byzantine=1, selected=2), 1e3, gradients, jit_compile)
    before, after = train(B.Krum(byzantine=1, selected=2), value, gradients, jit_compile)
    assert not np.array_equal(after[0], before[0])
    for result, same in zip(after, expected, strict=True):
        np.testing.assert_allclose(result, same, rtol=1e-6)


def test_wrappers_are_as_robust_as_their_method():
    _, expected = train(B.Krum(byzantine=1, selected=2), 1e3)
    _, after = train(B.Every(B.Krum(byzantine=1, selected=2), 1), np.nan)
    np.testing.assert_allclose(after[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize(("gradients", "jit_compile", "value"), CASES)
def test_trimmed_mean_keeps_shared_weights_finite(gradients, jit_compile, value):
    before, after = train(B.TrimmedMean(1), value, gradients, jit_compile)
    assert np.isfinite(np.concatenate([v.ravel() for v in after])).all()
    assert not np.array_equal(after[0], before[0])


ROWS = np.array([[1.0, 0.0], [1.1, 0.0], [1.0, 0.2], [1.0, -0.3]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outlier", [[np.nan, 0.0], [np.inf, 1.0], [-np.inf, np.nan], [1e200, 1e200]])
@pytest.mark.parametrize("position", [0, 2, 4])
def test_a_gradient_that_is_not_finite_is_the_furthest(outlier, position, dtype):
    with np.errstate(all="ignore"):
        rows = np.insert(ROWS, position, outlier, 0).astype(dtype)
        ordinary = np.insert(ROWS, position, [50.0, -40.0], 0).astype(dtype)
        weights = B.Krum(byzantine=1, selected=2)(rows @ rows.T)
    np.testing.assert_array_equal(weights, B.Krum(byzantine=1, selected=2)(ordinary @ ordinary.T))
    assert weights[position] == 0
    direction = B.TrimmedMean()(rows).numpy()
    assert (direction >= ROWS.min(0)).all()
    assert (direction <= ROWS.max(0)).all()


@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_only_a_weight_of_zero_leaves_a_gradient_out(value):
    variables = [keras.Variable(np.zeros(3, "float32")), keras.Variable(np.zeros((4, 2), "float32"))]
    table_rows = tf.IndexedSlices(tf.fill([1, 2], value), tf.constant([2]), tf.constant([4, 2]))
    other_rows = tf.IndexedSlices(tf.ones([1, 2]), tf.constant([1]), tf.constant([4, 2]))
    stacked = jacobian([[tf.fill([3], value), table_rows], [tf.ones([3]), other_rows]], variables)
    dense, sparse = stacked.weighted_if_not_zero(tf.constant([0.0, 2.0]), stacked.gramian())
    np.testing.assert_array_equal(dense, [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(tf.convert_to_tensor(sparse), [[0, 0], [2, 2], [0, 0], [0, 0]])
    dense, _ = stacked.weighted_if_not_zero(tf.constant([1.0, 2.0]), stacked.gramian())
    np.testing.assert_array_equal(dense, np.full(3, np.float32(value)))
