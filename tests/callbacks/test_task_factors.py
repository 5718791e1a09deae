"""Tasks that begin, stop or slow down during training: exactly as without labels, or with other loss weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._optimizers.internals import with_slots

X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")
Y = {name: np.random.default_rng(seed).normal(size=16).astype("float32") for seed, name in enumerate("ab", 1)}
NO_B = {"b": np.zeros(16, "float32")}


def build(optimizer=None, strategy=None, **options):
    keras.utils.set_random_seed(2)
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([6, 4], "tanh"))
        model = mtl.build_model(keras.Input((5,)), trunk, [mtl.tasks.Regression(name) for name in "ab"])
        optimizer = optimizer or keras.optimizers.AdamW(0.01, weight_decay=0.1)
        model.compile(optimizer, **{"jit_compile": False, **options})
    return model


def fit(model, epochs, *callbacks, **options):
    return model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks], **options)


def state(model):
    return [np.array(tf.convert_to_tensor(v.value)) for v in with_slots(model.optimizer, model.trainable_variables)]


def own_state(model, task):
    own = model._engine.parts.own[task]
    return [np.array(tf.convert_to_tensor(v.value)) for v in with_slots(model.optimizer, own)]


def assert_equal(left, right, **tolerance):
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, **{"rtol": 1e-5, "atol": 1e-7, **tolerance})


CASES = {
    "equal": {},
    "uncertainty": {"balancing": "uncertainty"},
    "upgrad": {"balancing": "upgrad"},
    "pcgrad": {"balancing": "pcgrad"},
    "features": {"balancing": "upgrad", "gradients": "features"},
    "accumulate": {"balancing": "imtl", "accumulate": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_a_task_that_has_not_begun_is_as_without_labels(case):
    expected = build(**CASES[case])
    fit(expected, 2, sample_weight=NO_B)
    expected.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    model = build(**CASES[case])
    model._build_optimizer()
    before = own_state(model, "b")
    history = fit(model, 2, mtl.callbacks.Curriculum({"b": 2})).history
    assert_equal(own_state(model, "b"), before, rtol=0, atol=0)
    assert history["factor/b"] == [0, 0]
    assert min(history["b_loss"]) > 0  # results are still logged
    fit(model, 1)  # the callback has ended: all tasks train
    assert_equal(state(model), state(expected))


def test_replicas_equal_one_device():
    strategy = mtl.distribute.strategy("mirrored")
    assert strategy.num_replicas_in_sync == 2
    states = []
    for each in (None, strategy):
        model = build(strategy=each, balancing="upgrad")
        fit(model, 3, mtl.callbacks.Curriculum({"a": 1}))
        states.append(state(model))
    assert_equal(*states)


class Results(keras.callbacks.Callback):
    """Writes given results to the logs."""

    def __init__(self, **results):
        super().__init__()
        self.results = results

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.results.items()})


def factors(callback, epochs, names="ab", **results):
    model = build(run_eagerly=True)
    history = model.fit(
        X[:4], {n: y[:4] for n, y in Y.items()}, epochs=epochs, verbose=0, callbacks=[Results(**results), callback]
    ).history
    return {name: history[f"factor/{name}"] for name in names}


def test_a_task_begins_when_another_has_converged():
    curriculum = mtl.callbacks.Curriculum({"b": "a"}, monitor={"a": "a_rmse"}, patience=2, min_delta=0.1)
    result = factors(curriculum, 6, a_rmse=[1, 0.5, 0.46, 0.49, 0.1, 0.1])
    assert result == {"a": [1] * 6, "b": [0, 0, 0, 0, 1, 1]}


def test_only_epochs_of_its_training_count_for_convergence():
    monitor = {"a": "a_rmse", "b": "b_rmse"}
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([4]))
    model = mtl.build_model(keras.Input((5,)), trunk, [mtl.tasks.Regression(name) for name in "abc"])
    model.compile("sgd", run_eagerly=True)
    labels = {**Y, "c": Y["a"]}
    history = model.fit(
        X,
        labels,
        epochs=6,
        verbose=0,
        callbacks=[
            Results(a_rmse=[1.0] * 6, b_rmse=[1.0] * 6),
            mtl.callbacks.Curriculum({"b": ["a"], "c": ["a", "b"]}, monitor, patience=1),
        ],
    ).history
    assert history["factor/b"] == [0, 0, 1, 1, 1, 1]  # the first epoch is a's best, the second no better
    assert history["factor/c"] == [0, 0, 0, 0, 1, 1]


def test_stop_and_go():
    callback = mtl.callbacks.StopAndGo({"a": "a_pearson"}, patience=2, min_delta=0, drop=0.1)
    scores = [0.5, 0.8, 0.8, 0.7, 0.75, 0.71, 0.6, 0.9, 0.8, 0.8]
    #         best  best  1    2: stop      falls behind 0.72    best
    result = factors(callback, 10, a_pearson=scores)
    assert result == {"a": [1, 1, 1, 1, 0, 0, 1, 1, 1, 1], "b": [1] * 10}


def test_training_ends_when_all_tasks_have_stopped():
    callback = mtl.callbacks.StopAndGo({"a": "a_rmse", "b": "b_rmse"}, patience=1)
    result = factors(callback, 6, a_rmse=[1.0] * 6, b_rmse=[1, 0.5, 0.2, 0.2, 0.2, 0.2])
    assert result == {"a": [1, 1, 0, 0], "b": [1, 1, 1, 1]}


def test_reduced_rates():
    callback = mtl.callbacks.ReduceTaskLROnPlateau({"a": "a_rmse"}, factor=0.5, patience=2, min_factor=0.3)
    result = factors(callback, 9, a_rmse=[1, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8])
    assert result["a"] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.3, 0.3]
    assert result["b"] == [1] * 9


@pytest.mark.parametrize("case", ["equal", "upgrad", "features"])
def test_a_factor_is_a_loss_weight(case):
    model, expected = build("sgd", **CASES[case]), build("sgd", loss_weights={"a": 0.25}, **CASES[case])
    reduce = mtl.callbacks.ReduceTaskLROnPlateau({"a": "a_rmse"}, factor=0.25, patience=1)
    history = fit(model, 3, Results(a_rmse=[1, 1, 1]), reduce).history
    assert history["factor/a"] == [1, 1, 0.25]
    before = build("sgd", **CASES[case])
    fit(before, 2)
    expected.set_weights(before.get_weights())
    fit(expected, 1)
    assert_equal(model.get_weights(), expected.get_weights())


def test_what_adam_leaves_of_a_factor():
    """Nothing in the task's own variables, in the long run."""
    moved = []
    for factor in (1.0, 0.01):
        model = build(keras.optimizers.Adam(0.001, epsilon=1e-12), loss_weights={"a": factor})
        before = own_state(model, "a")[:2]
        fit(model, 1)
        moved.append([after - start for after, start in zip(own_state(model, "a")[:2], before, strict=True)])
    assert_equal(*moved, rtol=0.05, atol=1e-6)


def test_factors_of_two_callbacks_multiply():
    reduce = mtl.callbacks.ReduceTaskLROnPlateau({"a": "a_rmse", "b": "b_rmse"}, factor=0.5, patience=1)
    model = build(run_eagerly=True)
    plateau = Results(a_rmse=[1] * 6, b_rmse=[1] * 6)
    history = fit(model, 6, plateau, reduce, mtl.callbacks.Curriculum({"b": 3})).history
    assert history["factor/b"] == [0, 0, 0, 1, 1, 0.5]  # its first epoch is its best so far
    assert history["factor/a"] == [1, 1, 0.5, 0.25, 0.125, 0.0625]


def test_a_task_that_has_not_begun_is_not_stopped():
    stop = mtl.callbacks.StopAndGo({"a": "a_rmse", "b": "b_rmse"}, patience=1)
    plateau = Results(a_rmse=[1] * 9, b_rmse=[1] * 9)
    history = fit(build(run_eagerly=True), 9, plateau, mtl.callbacks.Curriculum({"b": 4}), stop).history
    assert history["factor/a"] == [1, 1, 0, 0, 0, 0]
    assert history["factor/b"] == [0, 0, 0, 0, 1, 1]  # then both have stopped


def test_a_stopped_task_has_converged():
    monitor = {"a": "a_rmse"}
    curriculum = mtl.callbacks.Curriculum({"b": "a"}, monitor, patience=3)
    plateau = Results(a_rmse=[1] * 7)
    history = fit(build(run_eagerly=True), 7, plateau, curriculum, mtl.callbacks.StopAndGo(monitor, patience=1)).history
    assert history["factor/a"] == [1, 1, 0, 0, 0, 0, 0]
    assert history["factor/b"] == [0, 0, 0, 0, 1, 1, 1]


def test_a_fit_within_a_callback():
    """It leaves the outer one its own callbacks' factors, and none of its own."""

    class Fit(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            inner = [mtl.callbacks.Curriculum({"b": 5}), mtl.callbacks.UpdateAlignment()]
            inner_history = self.model.fit(X, Y, verbose=0, callbacks=inner).history
            assert inner_history["factor/b"] == [0]
            assert "alignment" in inner_history

    model = build(run_eagerly=True)
    history = fit(model, 3, mtl.callbacks.Curriculum({"a": 1}), Fit()).history
    assert history["factor/a"] == [0, 1, 1]
    assert history["factor/b"] == [1, 1, 1]
    assert "alignment" not in history
    before = own_state(model, "b")
    fit(model, 1)
    assert not np.array_equal(own_state(model, "b")[0], before[0])


def test_a_curriculum_before_the_checkpoint(tmp_path):
    def train(epochs):
        checkpoint = mtl.callbacks.Checkpoint(tmp_path, every="1 epoch")
        return fit(build(), epochs, mtl.callbacks.Curriculum({"b": 2}), checkpoint).history

    train(2)
    assert train(4)["factor/b"][-2:] == [1, 1]


@pytest.mark.parametrize("kind", ["curriculum", "stop", "reduce"])
def test_a_resumed_run_is_bitwise_equal(kind, tmp_path):
    monitor = {"a": "val_a_rmse"}
    make = {
        "curriculum": lambda: mtl.callbacks.Curriculum({"b": "a"}, monitor, patience=1, min_delta=0.5),
        "stop": lambda: mtl.callbacks.StopAndGo(monitor, patience=1, min_delta=0.5, drop=0.5),
        "reduce": lambda: mtl.callbacks.ReduceTaskLROnPlateau(monitor, patience=1, min_delta=0.5),
    }[kind]

    def train(folder, epochs):
        model = build()
        checkpoint = mtl.callbacks.Checkpoint(tmp_path / folder, every="1 step", keep=20)
        return model, fit(model, epochs, checkpoint, make(), validation_data=(X, Y)).history

    expected, history = train("whole", 4)
    assert len(set(history[f"factor/{'b' if kind == 'curriculum' else 'a'}"])) > 1
    train("resumed", 3)
    for path in (tmp_path / "resumed").glob("step-*"):
        if int(path.name[5:15]) > 5:
            path.unlink()
    resumed, logs = train("resumed", 4)
    assert_equal(state(resumed), state(expected), rtol=0, atol=0)
    assert logs["factor/a"][-1] == history["factor/a"][-1]


def test_factors_end_with_a_run_that_fails():
    class Fail(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stop")

    model = build(run_eagerly=True)
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, 1, mtl.callbacks.Curriculum({"b": 1}), Fail())
    before = own_state(model, "b")
    fit(model, 1)
    assert not np.array_equal(own_state(model, "b")[0], before[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (({"b": -1},), "start\\['b'\\]"),
        (({"b": "a"},), "start\\['b'\\]"),  # without monitor
        (({"b": "a", "a": "b"}, {"a": "a_rmse", "b": "b_rmse"}), "wait for each other"),
        (({"b": "b"}, {"b": "b_rmse"}), "wait for each other"),
        (({"b": []},), "at least one task"),
        (({"b": 1}, None, 0), "patience"),
    ],
)
def test_bad_curricula(arguments, words):
    with pytest.raises(ValueError, match=words):
        mtl.callbacks.Curriculum(*arguments)


@pytest.mark.parametrize(
    ("callback", "words"),
    [
        (mtl.callbacks.Curriculum({"c": 1}), "`start`"),
        (mtl.callbacks.Curriculum({"a": 1, "b": 2}), "epoch 0"),
        (mtl.callbacks.StopAndGo({"c": "val_a_rmse"}), "`monitor`"),
        (mtl.callbacks.StopAndGo({"a": "val_a_rmse"}), "validation_data"),
        (mtl.callbacks.ReduceTaskLROnPlateau({"a": "a_rms"}), "a_rmse"),
    ],
)
def test_errors_in_fit(callback, words):
    with pytest.raises(ValueError, match=words):
        fit(build(run_eagerly=True), 1, callback)


@pytest.mark.parametrize("options", [{"factor": 1.0}, {"factor": 0}, {"min_factor": 2}, {"monitor": {}}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        mtl.callbacks.ReduceTaskLROnPlateau(**{"monitor": {"a": "a_rmse"}, **options})
