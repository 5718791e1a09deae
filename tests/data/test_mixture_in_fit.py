"""Mixtures in `fit`, `evaluate` and `predict`."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def sources():
    rng = np.random.default_rng(0)
    by_name = {}
    for name, rows in {"a": 30, "b": 10}.items():
        x = rng.normal(size=(rows, 4)).astype("float32")
        by_name[name] = tf.data.Dataset.from_tensor_slices((x, {name: x[:, 0]}))
    return by_name


def model(**options):
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    compiled = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")])
    compiled.compile("adam", jit_compile=False, **options)
    return compiled


def mixture(**options):
    return mtl.data.mix(sources(), **{"rates": "uniform", "batch_size": 4, "seed": 3, **options})


def shares(history):
    return [dict(zip("ab", row, strict=True)) for row in zip(*(history[f"share_{name}"] for name in "ab"), strict=True)]


def steps(trained):
    return int(trained.optimizer.iterations.numpy())


def remove_checkpoints_after(step, directory):
    for path in directory.glob("step-*"):
        if int(path.name[5:15]) > step:
            path.unlink()
    assert list(directory.glob("step-*"))


def assert_same_run(run, expected):
    (values, history), (expected_values, expected_history) = run, expected
    for value, expected_value in zip(values, expected_values, strict=True):
        np.testing.assert_array_equal(value, expected_value)
    assert history == expected_history


def test_an_epoch_has_the_mixtures_length_and_its_shares_are_logged():
    data, trained = mixture(), model()
    history = trained.fit(data, epochs=3, verbose=0).history
    assert steps(trained) == 3 * len(data) == 30
    assert shares(history) == [data.shares(first, 10) for first in (0, 10, 20)]
    assert len({share["a"] for share in shares(history)}) > 1


@pytest.mark.parametrize("steps_per_execution", [1, 5])
def test_shares_with_steps_per_epoch(steps_per_execution):
    """An epoch has `steps_per_epoch` steps, whatever `steps_per_execution` is."""
    data, trained = mixture(), model(steps_per_execution=steps_per_execution)
    history = trained.fit(data, epochs=2, steps_per_epoch=7, verbose=0).history
    assert steps(trained) == 2 * 7
    assert shares(history) == [data.shares(0, 7), data.shares(7, 7)]


def test_resumes_bit_for_bit(tmp_path):
    def run(directory, epochs):
        trained, checkpoint = model(), mtl.callbacks.Checkpoint(tmp_path / directory, every="4 steps")
        shuffled = {name: source.shuffle(30, seed=1) for name, source in sources().items()}
        data = mtl.data.mix(shuffled, "uniform", batch_size=4, seed=3)
        history = trained.fit(data, epochs=epochs, verbose=0, callbacks=[checkpoint]).history
        return [v.numpy() for v in [*trained.variables, *trained.optimizer.variables]], history

    expected = run("uninterrupted", 4)
    run("interrupted", 2)
    remove_checkpoints_after(16, tmp_path / "interrupted")
    assert_same_run(run("interrupted", 4), expected)


def test_evaluation_reads_the_same_epoch_each_time():
    data = mixture()
    trained = model()
    trained.optimizer.learning_rate = 0.0
    results = [trained.evaluate(data, verbose=0, return_dict=True) for _ in range(2)]
    assert results[0] == results[1]
    assert results[0] == trained.evaluate(data.take(10), verbose=0, return_dict=True)
    assert results[0] != trained.evaluate(data, steps=3, verbose=0, return_dict=True)


def test_validation_reads_one_epoch():
    trained = model()
    trained.optimizer.learning_rate = 0.0
    history = trained.fit(mixture(), validation_data=mixture(epoch=2), epochs=2, verbose=0).history
    expected = trained.evaluate(mixture().take(2), verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(history["val_loss"], [expected] * 2, rtol=1e-6)


def test_endless_data_without_a_number_of_steps_are_an_error():
    endless, trained = mixture().prefetch(1), model()
    with pytest.raises(ValueError, match="`x` is an endless data set.*`steps_per_epoch`"):
        trained.fit(endless)
    with pytest.raises(ValueError, match="`validation_data` is an endless data set.*`validation_steps`"):
        trained.fit(endless.take(2), validation_data=endless)
    for read in (trained.evaluate, trained.predict):
        with pytest.raises(ValueError, match="`x` is an endless data set.*`steps`"):
            read(endless)
    history = trained.fit(endless, steps_per_epoch=2, verbose=0).history
    assert "share_a" not in history


def test_prediction_reads_one_epoch():
    assert len(model().predict(mixture(epoch=3), verbose=0)["a"]) == 12


@functools.cache
def reusable_model():
    """A model, which is traced once, and the initial values of its variables."""
    trained = model(steps_per_execution=4)
    trained.optimizer.build(trained.trainable_variables)
    return trained, [v.numpy() for v in [*trained.variables, *trained.optimizer.variables]]


def as_new():
    trained, values = reusable_model()
    for variable, value in zip([*trained.variables, *trained.optimizer.variables], values, strict=True):
        variable.assign(value)
    return trained


@pytest.mark.parametrize(
    "options",
    [
        {"batches": "homogeneous", "shuffle_buffer": 30},
        {"rates": "annealed", "epochs": 4, "shuffle_buffer": 7},
        {"rates": lambda step: {"a": 1.0, "b": tf.cast(step % 3, tf.float32)}},
    ],
    ids=["homogeneous", "annealed", "function"],
)
def test_every_kind_of_mixture_resumes_bit_for_bit(options, tmp_path):
    """Even if `steps_per_execution` does not divide the epoch, and the mixture is also the validation data."""

    def run(directory, epochs):
        trained, data = as_new(), mixture(**options)
        checkpoint = mtl.callbacks.Checkpoint(tmp_path / directory, every="4 steps")
        history = trained.fit(data, validation_data=data, epochs=epochs, verbose=0, callbacks=[checkpoint]).history
        assert steps(trained) == epochs * len(data)
        return trained.get_weights(), history

    expected = run("uninterrupted", 3)
    run("interrupted", 2)
    remove_checkpoints_after(14, tmp_path / "interrupted")
    assert_same_run(run("interrupted", 3), expected)


@pytest.mark.parametrize("batches", ["mixed", pytest.param("homogeneous", marks=pytest.mark.slow)])
def test_two_replicas_equal_one(batches):
    with mtl.distribute.strategy("mirrored").scope():
        two_replicas = model()
    if two_replicas.distribute_strategy.num_replicas_in_sync != 2:
        pytest.skip("needs two devices")
    one_replica = model()
    data = mixture(batches=batches, batch_size=5)  # uneven on two replicas
    histories = [trained.fit(data, epochs=2, verbose=0).history for trained in (one_replica, two_replicas)]
    assert shares(histories[0]) == shares(histories[1])
    for a, b in zip(one_replica.get_weights(), two_replicas.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
