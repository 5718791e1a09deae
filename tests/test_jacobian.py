"""Embedding tables in the Jacobian: only the batch's rows, with the same results as dense gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine.jacobian import jacobian

B = mtl.balancing


def two_lookups(table, kernel, ids, heads):
    """Gradients of one loss per head; the last loss also reads other rows of the table."""
    with tf.GradientTape(persistent=True) as tape:
        h = tf.reduce_mean(tf.gather(table, ids), 1) @ kernel
        losses = [tf.reduce_sum(tf.tanh(h @ head)) for head in heads]
        losses[-1] += tf.reduce_sum(tf.gather(table, ids[:, 0] + 1) ** 2)
    return [tape.gradient(loss, [table, kernel]) for loss in losses]


@pytest.mark.parametrize("jit", [False, True])
def test_compact_equals_dense(jit):
    rng = np.random.default_rng(0)
    table, kernel = (tf.Variable(rng.normal(size=shape), dtype=tf.float32) for shape in ((50, 4), (4, 3)))
    heads = tf.constant(rng.normal(size=(3, 3, 2)), tf.float32)
    ids = tf.constant(rng.integers(0, 9, (6, 5)))
    weights = tf.constant([0.5, -1.0, 2.0])
    is_sparse = []

    @tf.function(jit_compile=jit)
    def both(ids):
        gradients = two_lookups(table, kernel, ids, tf.unstack(heads))
        results = []
        for compact in (True, False):
            jacobian_rows = jacobian(gradients, [table, kernel], compact=compact)
            table_gradient, kernel_gradient = jacobian_rows.weighted(weights)
            is_sparse.append(isinstance(table_gradient, tf.IndexedSlices))
            width = tf.shape(jacobian_rows.matrix())[1]
            results.append((jacobian_rows.gramian(), tf.convert_to_tensor(table_gradient), kernel_gradient, width))
        return results

    compact, dense = both(ids)
    for a, b in zip(compact[:3], dense[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert is_sparse == [True, False]
    read_rows = len(np.unique(np.concatenate([ids.numpy().ravel(), ids.numpy()[:, 0] + 1])))
    assert compact[3] == read_rows * 4 + 12
    assert dense[3] == 50 * 4 + 12
    expected_jacobian = np.stack(
        [
            np.concatenate([tf.reshape(tf.convert_to_tensor(g), [-1]) for g in row])
            for row in two_lookups(table, kernel, ids, tf.unstack(heads))
        ]
    )
    np.testing.assert_allclose(dense[0], expected_jacobian @ expected_jacobian.T, rtol=1e-4)


def text_model(method, jit_compile=False, optimizer=None, regularizer=None):
    keras.utils.set_random_seed(2)
    ids = keras.Input((5,), dtype="int32")
    table = keras.layers.Embedding(1000, 4, embeddings_regularizer=regularizer)
    h = keras.layers.GlobalAveragePooling1D()(table(ids))
    h = keras.layers.Dense(6, activation="tanh")(h)
    model = mtl.MultiTaskModel(ids, {task: keras.layers.Dense(1, name=task)(h) for task in "abc"})
    model.compile(optimizer or keras.optimizers.SGD(0.5), loss="mse", balancing=method, jit_compile=jit_compile)
    return model


def text_data():
    rng = np.random.default_rng(1)
    return tf.data.Dataset.from_tensor_slices(
        (rng.integers(0, 60, (24, 5)), {task: rng.normal(size=24).astype("float32") for task in "abc"})
    ).batch(8)


def sizes_in(function):
    """The static sizes of all tensors of a graph, including those of its branches and loops."""
    graphs = [function.graph, *(f.graph for f in function.graph._functions.values() if hasattr(f, "graph"))]
    return [t.shape.num_elements() for g in graphs for op in g.get_operations() for t in op.outputs if t.shape.rank]


@pytest.mark.parametrize("method", [B.UPGrad, lambda: B.GradDrop(seed=1)])
def test_no_dense_table_per_task(method):
    model = text_model(method())
    batch = next(iter(text_data()))
    model._build_optimizer()
    traced = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
    dense = [size for size in sizes_in(traced) if size is not None and size >= 4000]
    assert all(size == 4000 for size in dense)  # the table and the optimizer's update of it; no stack of T
    model = text_model(B.ExcessMTL())  # keeps a number for each parameter and task
    model._build_optimizer()
    traced = tf.function(model.train_step, autograph=False).get_concrete_function(batch)
    assert max(size or 0 for size in sizes_in(traced)) >= 12000


@pytest.mark.parametrize(
    ("method", "regularizer"),
    [
        (lambda: B.UPGrad(), None),
        (lambda: B.GradDrop(seed=1), "l2"),
        pytest.param(lambda: B.UPGrad(), "l2", marks=pytest.mark.slow),
        pytest.param(lambda: B.GradDrop(seed=1), None, marks=pytest.mark.slow),
        pytest.param(lambda: B.ConFIG(), None, marks=pytest.mark.slow),
        pytest.param(lambda: B.ConFIG(), "l2", marks=pytest.mark.slow),
    ],
)
def test_replicas_agree_on_the_rows(method, regularizer):
    """The optimizer squares gradients, so each row must occur only once in a gradient."""
    one = text_model(method(), optimizer=keras.optimizers.Adam(0.01), regularizer=regularizer)
    one.fit(text_data(), epochs=2, verbose=0)
    with mtl.distribute.strategy("mirrored").scope():
        two = text_model(method(), "auto", keras.optimizers.Adam(0.01), regularizer)
    two.fit(text_data(), epochs=2, verbose=0)
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_sparse_and_dense_updates_are_equal():
    """Adam squares the sum of a row's gradients, not each of them."""
    sparse, dense = (
        text_model(method, optimizer=keras.optimizers.Adam(0.01)) for method in (B.UPGrad(), DenseUPGrad())
    )
    for model in (sparse, dense):
        model.fit(text_data(), epochs=2, verbose=0)
    for a, b in zip(sparse.get_weights(), dense.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)


class DenseUPGrad(B.Aggregator):
    """UPGrad on the whole Jacobian."""

    has_jacobian_state = True

    def call(self, jacobian, losses=None):
        weights = B.UPGrad()(jacobian @ tf.transpose(jacobian))
        return tf.linalg.matvec(jacobian, weights, transpose_a=True)
