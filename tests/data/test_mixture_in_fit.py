"""Mixtures in `fit` and `evaluate`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def sources():
    rng = np.random.default_rng(0)
    found = {}
    for name, rows in {"a": 30, "b": 10}.items():
        x = rng.normal(size=(rows, 4)).astype("float32")
        found[name] = tf.data.Dataset.from_tensor_slices((x, {name: x[:, 0]}))
    return found


def model(**options):
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    built = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")])
    built.compile("adam", jit_compile=False, **options)
    return built


def mixture(**options):
    return mtl.data.mix(sources(), **{"rates": "uniform", "batch_size": 4, "seed": 3, **options})


def shares(history):
    return [dict(zip("ab", row, strict=True)) for row in zip(*(history[f"share_{name}"] for name in "ab"), strict=True)]


def steps(trained):
    return int(trained.optimizer.iterations.numpy())


def test_an_epoch_has_the_mixtures_length_and_its_shares_are_logged():
    data, trained = mixture(), model()
    history = trained.fit(data, epochs=3, verbose=0).history
    assert steps(trained) == 3 * len(data) == 30
    assert shares(history) == [data.shares(first, 10) for first in (0, 10, 20)]
    assert len({share["a"] for share in shares(history)}) > 1


@pytest.mark.parametrize("spe", [1, 5])
def test_shares_of_other_epochs(spe):
    """An epoch has the steps that it should have, whatever an execution has."""
    data, trained = mixture(), model(steps_per_execution=spe)
    history = trained.fit(data, epochs=2, steps_per_epoch=7, verbose=0).history
    assert steps(trained) == 2 * 7
    assert shares(history) == [data.shares(0, 7), data.shares(7, 7)]


def test_goes_on_bit_for_bit(tmp_path):
    def run(directory, epochs):
        trained, checkpoint = model(), mtl.callbacks.Checkpoint(tmp_path / directory, every="4 steps")
        shuffled = {name: source.shuffle(30, seed=1) for name, source in sources().items()}
        data = mtl.data.mix(shuffled, "uniform", batch_size=4, seed=3)
        history = trained.fit(data, epochs=epochs, verbose=0, callbacks=[checkpoint]).history
        return [v.numpy() for v in [*trained.variables, *trained.optimizer.variables]], history

    whole = run("whole", 4)
    run("cut", 2)
    for path in (tmp_path / "cut").iterdir():
        if int(path.name[5:15]) > 16:
            path.unlink()
    assert list((tmp_path / "cut").iterdir())
    found = run("cut", 4)
    for one, other in zip(found[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[1] == whole[1]


def test_evaluation_takes_the_same_epoch_each_time():
    data = mixture()
    trained = model()
    trained.optimizer.learning_rate = 0.0
    found = [trained.evaluate(data, verbose=0, return_dict=True) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0] == trained.evaluate(data.take(10), verbose=0, return_dict=True)
    assert found[0] != trained.evaluate(data, steps=3, verbose=0, return_dict=True)


def test_validation_takes_one_epoch():
    trained = model()
    trained.optimizer.learning_rate = 0.0
    history = trained.fit(mixture(), validation_data=mixture(epoch=2), epochs=2, verbose=0).history
    expected = trained.evaluate(mixture().take(2), verbose=0, return_dict=True)["loss"]
    np.testing.assert_allclose(history["val_loss"], [expected] * 2, rtol=1e-6)


def test_data_without_end_are_refused():
    endless, trained = mixture().prefetch(1), model()
    with pytest.raises(ValueError, match="`x` is a data set without end.*Give `steps_per_epoch`"):
        trained.fit(endless)
    with pytest.raises(ValueError, match="`validation_data` is a data set without end.*Give `validation_steps`"):
        trained.fit(endless.take(2), validation_data=endless)
    for read in (trained.evaluate, trained.predict):
        with pytest.raises(ValueError, match="`x` is a data set without end.*Give `steps`"):
            read(endless)
    history = trained.fit(endless, steps_per_epoch=2, verbose=0).history
    assert "share_a" not in history


def test_prediction_takes_one_epoch():
    assert len(model().predict(mixture(epoch=3), verbose=0)["a"]) == 12


@pytest.mark.parametrize(
    "options",
    [
        {"batches": "homogeneous", "shuffle_buffer": 30},
        {"rates": "annealed", "epochs": 4, "shuffle_buffer": 7},
        {"rates": lambda step: {"a": 1.0, "b": tf.cast(step % 3, tf.float32)}},
    ],
    ids=["homogeneous", "annealed", "function"],
)
def test_kinds_of_mixtures_go_on_bit_for_bit(options, tmp_path):
    """Although an execution of four steps does not divide the epoch, and the mixture is read for validation, too."""

    def run(directory, epochs):
        trained, data = model(steps_per_execution=4), mixture(**options)
        checkpoint = mtl.callbacks.Checkpoint(tmp_path / directory, every="4 steps")
        history = trained.fit(data, validation_data=data, epochs=epochs, verbose=0, callbacks=[checkpoint]).history
        assert steps(trained) == epochs * len(data)
        return trained.get_weights(), history

    whole = run("whole", 3)
    run("cut", 2)
    for path in (tmp_path / "cut").iterdir():
        if int(path.name[5:15]) > 14:
            path.unlink()
    assert list((tmp_path / "cut").iterdir())
    found = run("cut", 3)
    for one, other in zip(found[0], whole[0], strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[1] == whole[1]


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
def test_two_replicas_end_as_one(batches):
    with mtl.distribute.strategy("mirrored").scope():
        two = model()
    if two.distribute_strategy.num_replicas_in_sync != 2:
        pytest.skip("needs two devices")
    one = model()
    data = mixture(batches=batches, batch_size=5)  # uneven on two replicas
    histories = [trained.fit(data, epochs=2, verbose=0).history for trained in (one, two)]
    assert shares(histories[0]) == shares(histories[1])
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
