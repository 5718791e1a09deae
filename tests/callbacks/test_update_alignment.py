"""The cosine between updates and the balanced direction, against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = {name: np.random.default_rng(seed).normal(size=16).astype("float32") for seed, name in enumerate("ab", 1)}


def build(optimizer, strategy=None, **options):
    keras.utils.set_random_seed(2)
    with (strategy or tf.distribute.get_strategy()).scope():
        trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6, 4], "tanh"))
        model = mtl.build_model(keras.Input((5,)), trunk, [mtl.tasks.Regression(name) for name in "ab"])
        model.compile(optimizer, **{"balancing": "upgrad", "jit_compile": False, **options})
    return model


def fit(model, *callbacks, epochs=1):
    return model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks]).history


def adam_by_hand():
    """The mean alignment of two steps of Adam."""
    model = build("sgd", balancing="equal")
    shared = {v.path for v in model._engine.parts.shared}
    state = {v.path: (np.zeros(v.shape), np.zeros(v.shape)) for v in model.trainable_variables}
    cosines = []
    for step in (1, 2):
        rows = slice(8 * (step - 1), 8 * step)
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = model(X[rows])
            loss = sum(tf.reduce_mean((outputs[name][:, 0] - Y[name][rows]) ** 2) for name in "ab")
        moved, directions = [], []
        for v, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            g, (mean, square) = gradient.numpy(), state[v.path]
            mean += 0.1 * (g - mean)
            square += 0.001 * (g**2 - square)
            change = 0.01 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-7)
            v.assign(v.numpy() - change)
            if v.path in shared:
                moved.append(change.ravel())
                directions.append(g.ravel())
        one, other = np.concatenate(moved), np.concatenate(directions)
        cosines.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    return np.mean(cosines)


def test_plain_sgd_keeps_the_direction():
    model = build(keras.optimizers.SGD(0.1))
    assert fit(model, mtl.callbacks.UpdateAlignment(), epochs=2)["alignment"] == pytest.approx([1, 1], abs=1e-5)
    assert "alignment" not in fit(model)
    assert "alignment" not in model.evaluate(X, Y, verbose=0, return_dict=True)


def test_adam_turns_it():
    model = build(keras.optimizers.Adam(0.01), balancing="equal")
    expected = adam_by_hand()
    assert fit(model, mtl.callbacks.UpdateAlignment())["alignment"][0] == pytest.approx(expected, rel=1e-4)
    assert 0.3 < expected < 0.95


def test_measuring_changes_nothing_and_replicas_agree():
    plain, measured = build("adam"), build("adam")
    fit(plain)
    fit(measured, mtl.callbacks.UpdateAlignment())
    for one, other in zip(plain.get_weights(), measured.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    strategy = mtl.distribute.strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    on_two = build("adam", strategy)
    alignment = fit(on_two, mtl.callbacks.UpdateAlignment())["alignment"]
    assert alignment == pytest.approx(fit(build("adam"), mtl.callbacks.UpdateAlignment())["alignment"], rel=1e-4)


def test_frozen_layers_do_not_count():
    model = build("sgd", run_eagerly=True)
    freezing = mtl.callbacks.Freezing({0: ["mlp_encoder"], 1: ["mlp_encoder_dense_0"], 2: []})
    history = fit(model, mtl.callbacks.UpdateAlignment(), freezing, epochs=3)
    assert history["alignment"] == pytest.approx([0, 1, 1], abs=1e-5)


def test_skipped_steps_do_not_count():
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**127)
    model = build(scaled, run_eagerly=True)
    alignment = fit(model, mtl.callbacks.UpdateAlignment(), epochs=3)["alignment"]
    assert np.isfinite(alignment).all()
    assert alignment[0] == 0


def test_a_run_resumed_mid_epoch_counts_the_earlier_steps(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stop")

    def train(*others):
        checkpoint = mtl.callbacks.Checkpoint(tmp_path, every="1 step")
        return fit(build("adam"), mtl.callbacks.UpdateAlignment(), checkpoint, *others)

    with pytest.raises(RuntimeError, match="stop"):
        train(Stop())
    expected = fit(build("adam"), mtl.callbacks.UpdateAlignment())["alignment"]
    assert train()["alignment"] == pytest.approx(expected, rel=1e-6)


def test_nothing_shared():
    tasks = [mtl.tasks.Regression(name) for name in "ab"]
    model = mtl.build_model(keras.Input((5,)), mtl.trunks.HardSharing(keras.layers.Identity()), tasks)
    model.compile("sgd")
    with pytest.raises(ValueError, match="UpdateAlignment"):
        fit(model, mtl.callbacks.UpdateAlignment())
