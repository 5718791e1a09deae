import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def three_tasks(heads):
    """One shared weight u = 1 and fixed heads: the gradient of task t is heads[t] times a positive number."""
    x = keras.Input((1,))
    h = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="u")(x)
    outputs = {
        task: keras.layers.Dense(
            1, use_bias=False, kernel_initializer=keras.initializers.Constant(value), trainable=False, name=task
        )(h)
        for task, value in heads.items()
    }
    model = mtl.MultiTaskModel(x, outputs)
    model.compile(keras.optimizers.SGD(0.0), loss=lambda y, p: p[:, 0] + 0 * y[:, 0])
    return model


def test_conflict_is_the_fraction_of_pairs_with_a_negative_cosine():
    model = three_tasks({"a": 1.0, "b": 2.0, "c": -1.0})
    x, y = np.ones((4, 1), "float32"), {task: np.zeros(4, "float32") for task in "abc"}
    logs = model.fit(x, y, verbose=0, callbacks=[mtl.callbacks.GradientConflict((x, y))]).history
    assert logs["conflict"] == [pytest.approx(2 / 3)]
    assert logs["cosine/a/b"] == [pytest.approx(1.0)]
    assert logs["cosine/a/c"] == [pytest.approx(-1.0)]


def test_tasks_without_labels_in_the_batch_do_not_count():
    model = three_tasks({"a": 1.0, "b": 2.0, "c": -1.0})
    x, y = np.ones((4, 1), "float32"), {task: np.zeros(4, "float32") for task in "abc"}
    batch = x, y, {"c": np.zeros(4, "float32")}
    logs = model.fit(x, y, verbose=0, callbacks=[mtl.callbacks.GradientConflict(batch)]).history
    assert logs["conflict"] == [0.0]
    assert np.isnan(logs["cosine/a/c"][0])


def test_a_graph_without_shared_variables_is_not_supported():
    x = keras.Input((1,))
    model = mtl.MultiTaskModel(x, {t: keras.layers.Dense(1)(x) for t in "ab"})
    model.compile("sgd", loss="mse")
    batch = np.ones((2, 1)), {t: np.zeros(2) for t in "ab"}
    with pytest.raises(ValueError, match="nothing trainable is shared"):
        model.fit(*batch, verbose=0, callbacks=[mtl.callbacks.GradientConflict(batch)])


def test_the_gradients_are_traced_once():
    model = three_tasks({"a": 1.0, "b": 2.0, "c": -1.0})
    traces = []

    def loss(y, p):
        traces.append(tf.executing_eagerly())
        return p[:, 0] + 0 * y[:, 0]

    model.compile(keras.optimizers.SGD(0.0), loss=loss)
    batch = np.ones((4, 1), "float32"), {task: np.zeros(4, "float32") for task in "abc"}
    model.gradient_cosines(batch)
    traces.clear()
    model.gradient_cosines(batch)
    assert not traces
