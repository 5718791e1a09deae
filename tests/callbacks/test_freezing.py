"""Freezing by a schedule: exactly which variables change, and which state is kept."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl._optimizers.internals import with_slots
from tf_mtl.callbacks._freezing import Freezing

GROUPS = ("encoder_dense_0", "encoder_dense_1", "a_", "b_")


def build(optimizer=None, batch_norm=False, **options):
    keras.utils.set_random_seed(2)
    encoder = mtl.encoders.MLPEncoder([6, 4], "tanh", name="encoder")
    x = keras.Input((5,))
    h = encoder(x)["pooled"]
    if batch_norm:
        h = keras.layers.BatchNormalization(name="norm")(h)
    trunk = keras.Model(x, h, name="trunk")
    tasks = [mtl.tasks.Regression(name) for name in "ab"]
    model = mtl.build_model(keras.Input((5,)), mtl.trunks.HardSharing(trunk if batch_norm else encoder), tasks)
    with model.distribute_strategy.scope():
        optimizer = optimizer or keras.optimizers.AdamW(0.01, weight_decay=0.1)
        model.compile(optimizer, **{"jit_compile": False, **options})
    return model


def data(rows=16):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 5)).astype("float32")
    return x, {name: rng.normal(size=rows).astype("float32") for name in "ab"}


class Recorder(keras.callbacks.Callback):
    """Records the weights before the first step and after every step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_begin(self, logs=None):
        self.on_train_batch_end(0)

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append({v.path: np.array(v.value.numpy()) for v in self.model.weights})

    def moved(self, step):
        """The groups in which all variables changed in a step, and those in which some did."""
        before, after = self.weights[step], self.weights[step + 1]
        has_moved = {path: not np.array_equal(before[path], after[path]) for path in before}
        by_group = {group: [moved for path, moved in has_moved.items() if group in path] for group in GROUPS}
        return {group for group, moved in by_group.items() if all(moved)}, {
            g for g, moved in by_group.items() if any(moved)
        }


def fit(model, schedule, epochs, **options):
    recorder = Recorder()
    freezing = schedule if isinstance(schedule, Freezing) else Freezing(schedule)
    history = model.fit(*data(), 8, epochs=epochs, shuffle=False, verbose=0, callbacks=[freezing, recorder], **options)
    return recorder, history


@pytest.mark.parametrize("balancing", ["equal", "upgrad", "db_mtl", "imtl", "config"])
def test_gradual_unfreezing(balancing):
    """Frozen variables do not change, despite momentum and weight decay; others change in the next step."""
    method = mtl.balancing.DBMTL(beta=0) if balancing == "db_mtl" else balancing
    model = build(balancing=method, run_eagerly=balancing not in ("equal", "upgrad"))  # tracing takes time
    recorder, history = fit(model, Freezing.gradually(["encoder_dense_0", "encoder_dense_1"]), 3)
    assert len(history.history["loss"]) == 3
    assert np.isfinite(history.history["loss"]).all()
    expected = [{"a_", "b_"}, {"encoder_dense_1", "a_", "b_"}, set(GROUPS)]
    for step in range(6):
        assert recorder.moved(step) == (expected[step // 2],) * 2, step
    assert int(model.optimizer.iterations) == 6


def test_momenta_of_earlier_epochs_do_not_move_frozen_variables():
    model = build(keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=0.1), run_eagerly=True)
    recorder, _ = fit(model, {1: ["encoder"], 2: []}, 3)
    heads = {"a_", "b_"}
    assert [recorder.moved(step)[1] for step in (0, 2, 3, 4)] == [set(GROUPS), heads, heads, set(GROUPS)]


def test_keras_ignores_trainable_without_compile():
    """The reason for `Freezing`."""
    model, recorder = build(), Recorder()
    freeze = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(model.get_layer("encoder"), "trainable", epoch == 0)
    )
    model.fit(*data(), 8, epochs=2, shuffle=False, verbose=0, callbacks=[freeze, recorder])
    assert not model.get_layer("encoder").trainable
    assert "encoder_dense_0" in recorder.moved(3)[0]


def test_a_frozen_epoch_equals_a_recompiled_model():
    """Without `Freezing`, two `fit`s and copied momenta are necessary."""
    model = build(run_eagerly=True)
    fit(model, {1: ["encoder"]}, 2)
    expected = build(run_eagerly=True)
    expected.fit(*data(), 8, epochs=1, shuffle=False, verbose=0)
    state = {v.path: v.numpy() for v in expected.optimizer.variables}
    expected.get_layer("encoder").trainable = False
    expected.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1), run_eagerly=True)
    expected.optimizer.build(expected.trainable_variables)
    by_name = {path.split("/", 1)[1]: value for path, value in state.items()}
    for v in expected.optimizer.variables:
        v.assign(by_name[v.path.split("/", 1)[1]])
    expected.fit(*data(), 8, epochs=1, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_slots_and_balancing_state_are_kept():
    model = build(balancing=mtl.balancing.EMA(mtl.balancing.PCGrad(seed=1)), run_eagerly=True)
    encoder = model.get_layer("encoder").weights
    states_at_begin, states_at_end = [], []

    def state():
        return [v.numpy() for v in [*with_slots(model.optimizer, encoder), *model.balancing.variables]]

    record = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: states_at_begin.append(state()),
        on_epoch_end=lambda epoch, logs: states_at_end.append(state()),
    )
    callbacks = [Freezing({1: ["encoder_dense_0"], 2: []}), record]
    model.fit(*data(), 8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks)
    names = [v.path for v in with_slots(model.optimizer, encoder)]
    assert len(names) == 12
    for end, begin in zip(states_at_end, states_at_begin[1:], strict=False):
        for before, after in zip(end, begin, strict=True):
            np.testing.assert_array_equal(before, after)
    for name, before, after in zip(names, states_at_begin[1], states_at_begin[2], strict=False):
        assert np.array_equal(before, after) == ("dense_0" in name)
        assert "momentum" not in name or np.abs(before).max() > 0
    assert any(not np.array_equal(*pair) for pair in zip(states_at_begin[1][12:], states_at_begin[2][12:], strict=True))


def test_batch_normalization_keeps_its_statistics():
    model = build(batch_norm=True, run_eagerly=True)
    recorder, _ = fit(model, {0: ["norm"], 1: []}, 2)
    paths = [path for path in recorder.weights[0] if "moving" in path]
    assert len(paths) == 2
    for path in paths:
        np.testing.assert_array_equal(recorder.weights[0][path], recorder.weights[2][path])
        assert not np.array_equal(recorder.weights[2][path], recorder.weights[3][path])


def test_layer_objects_functions_and_inner_frozen_layers():
    model = build()
    inner_layer = model.get_layer("encoder").stages[0][0]
    inner_layer.trainable = False
    model.compile("adam", run_eagerly=True)
    recorder, _ = fit(model, {0: [model.get_layer("encoder")], 1: lambda model: model.layers[-1:], 2: []}, 3)
    last = model.layers[-1].name[:2]
    heads = {"a_", "b_"}
    rest = {"encoder_dense_1", *heads}
    assert [recorder.moved(step)[1] for step in (0, 2, 4)] == [heads, rest - {last}, rest]
    assert not inner_layer.trainable


def test_layers_frozen_before_fit_can_be_unfrozen():
    model = build()
    model.get_layer("encoder").trainable = False
    recorder, _ = fit(model, {0: ["encoder"], 1: []}, 2)
    assert recorder.moved(0)[1] == {"a_", "b_"}
    assert recorder.moved(2)[0] == set(GROUPS)


@pytest.mark.parametrize("options", [{"steps_per_execution": 2}, {"gradients": "features", "balancing": "upgrad"}])
def test_other_training_options(options):
    model = build(**options)
    before = model.get_weights()
    fit(model, {0: ["encoder_dense_0"], 1: ["encoder"]}, 2)
    moved = [not np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True)]
    assert moved == [False, False, True, True, True, True, True, True]


def test_features_of_frozen_layers_are_not_balanced():
    """Features of a frozen layer, read by both tasks, do not count, as if the layer were frozen before `compile`."""

    def trained(freezing):
        keras.utils.set_random_seed(3)
        x = keras.Input((5,))
        low = keras.layers.Dense(6, "tanh", name="low")(x)
        high = keras.layers.Dense(4, "tanh", name="high")(low)
        head_inputs = {name: keras.layers.Concatenate(name=f"{name}_read")([low, high]) for name in "ab"}
        model = mtl.MultiTaskModel(x, {name: keras.layers.Dense(1, name=name)(h) for name, h in head_inputs.items()})
        model.get_layer("low").trainable = bool(freezing)
        model.compile("sgd", loss="mse", balancing="mgda", gradients="features", run_eagerly=True)
        model.fit(*data(), 8, epochs=2, shuffle=False, verbose=0, callbacks=freezing)
        return model.get_weights()

    for one, other in zip(trained([]), trained([Freezing({0: ["low"]})]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_replicas_equal_one():
    def trained():
        model = build(keras.optimizers.SGD(0.1, momentum=0.9), balancing="upgrad")
        fit(model, {0: ["encoder"], 1: ["encoder_dense_0"]}, 2)
        return model

    one = trained()
    with mtl.distribute.strategy("mirrored").scope():
        two = trained()
    assert two.distribute_strategy.num_replicas_in_sync == 2
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_a_resumed_run_continues_the_schedule(tmp_path, first):
    def run(epochs, folder):
        model = build(run_eagerly=True)
        callbacks = [mtl.callbacks.Checkpoint(tmp_path / folder, every="1 step", keep=20)]
        callbacks.insert(0 if first else 1, Freezing({1: ["encoder"], 3: []}))
        model.fit(*data(), 8, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks)
        return model.get_weights()

    uninterrupted = run(4, "uninterrupted")
    run(2, "resumed")
    for path in (tmp_path / "resumed").glob("step-*"):
        if int(path.name[5:15]) > 3:  # checkpoints after the middle of the second epoch
            path.unlink()
    for one, other in zip(uninterrupted, run(4, "resumed"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_errors_in_fit():
    def fails(match, schedule, model=None, error=ValueError):
        with pytest.raises(error, match=match):
            fit(model or build(), schedule, 1)

    fails("Did you mean 'encoder'", {0: ["encodr"]})
    fails("freezes all that the model trains", {0: [], 5: lambda model: model.layers})
    fails("use_ema", {0: ["encoder"]}, build(keras.optimizers.Adam(use_ema=True)))
    fails("has state for each trained shared variable", {0: ["encoder"]}, build(balancing="moco"))
    model = build()
    model.get_layer("encoder").trainable = False
    model.compile("adam", jit_compile=False)
    model.fit(*data(), verbose=0)
    fails("the optimizer was built when it was frozen", {0: ["encoder"], 1: []}, model)


def test_bad_arguments():
    for schedule in ([], {}, "encoder"):
        with pytest.raises(TypeError, match="`schedule` must be a dict"):
            Freezing(schedule)
    for layers in ("encoder", keras.layers.Dense(1)):
        with pytest.raises(TypeError, match="must be a list of layers"):
            Freezing({0: layers})
    for epoch in (-1, "1", 0.5):
        with pytest.raises(ValueError, match="an integer, at least 0"):
            Freezing({epoch: []})
    with pytest.raises(ValueError, match="`every` must be an integer, at least 1"):
        Freezing.gradually(["encoder"], every=0)
