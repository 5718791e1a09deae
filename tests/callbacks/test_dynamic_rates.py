"""Mixing rates that follow the lag of the tasks' results."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.callbacks._dynamic_rates import DynamicRates
from tf_mtl.data._dynamic_rates import DynamicRates as Rates

MONITOR = {"a": "val_a_mae", "b": "val_b_mae"}


def rows(n, name, seed=0):
    x = np.random.default_rng(seed).normal(size=(n, 4)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, {name: x @ np.arange(4, dtype="float32")}))


def mixture(rates):
    sources = {name: rows(24, name).shuffle(24, seed=1) for name in "ab"}
    return mtl.data.mix(sources, rates, batch_size=4, epoch=8, seed=3)


def model():
    keras.utils.set_random_seed(0)
    trunk = mtl.trunks.HardSharing(mtl.encoders.MLPEncoder([8]))
    compiled = mtl.build_model(keras.Input((4,)), trunk, [mtl.tasks.Regression("a"), mtl.tasks.Regression("b")])
    compiled.compile("adam", jit_compile=False)
    return compiled


def train(epochs, directory=None, reference=None, **options):
    rates = Rates(["a", "b"])
    trained, data = model(), mixture(rates)  # the model sets the global seed, which shuffles depend on
    callbacks = [DynamicRates(rates, MONITOR, reference)]
    callbacks += [] if directory is None else [mtl.callbacks.Checkpoint(directory, every="3 steps")]
    x = np.random.default_rng(9).normal(size=(16, 4)).astype("float32")
    valid = (x, {name: x[:, 0] for name in "ab"})
    history = trained.fit(data, validation_data=valid, epochs=epochs, verbose=0, callbacks=callbacks, **options).history
    return data, rates, trained, history


def test_rates_follow_the_lag_and_draws_follow_the_rates():
    reference = {"a": 1e-3, "b": 0.5}
    data, rates, _, history = train(4, reference=reference)
    for epoch in range(4):
        lags = [max((history[MONITOR[s]][epoch] - reference[s]) / reference[s], 0.01) for s in "ab"]
        np.testing.assert_allclose(rates.history[epoch + 1], np.array(lags) / sum(lags), rtol=1e-6)
        np.testing.assert_allclose(data.probabilities([8 * epoch]).numpy()[0], rates.history[epoch])
    assert rates.history[1, 0] > 0.9
    assert history["share_a"] == [data.shares(8 * epoch, 8)["a"] for epoch in range(4)]
    assert min(history["share_a"][1:]) > 0.8


def test_a_task_named_after_an_error():
    """Only the metric's own name determines whether higher is better."""
    rates = Rates(["a", "b"])
    lag = DynamicRates(rates, {"a": "val_error_type_f1", "b": "val_error_type_loss"}, reference={"a": 0.9, "b": 0.1})
    x = keras.Input((4,))
    lag.set_model(mtl.MultiTaskModel(x, {"error_type": keras.layers.Dense(2)(x)}))
    lag.on_epoch_end(0, {"val_error_type_f1": 0.45, "val_error_type_loss": 0.15})
    np.testing.assert_allclose(rates.history[1], [0.5, 0.5])


def test_no_row_is_drawn_at_the_rates_of_an_earlier_epoch():
    rates = Rates(["a", "b"], initial={"a": 1, "b": 0})
    data, trained = mixture(rates), model()

    class AlternatingLag(DynamicRates):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, {"val_a_mae": 1.0 + epoch % 2, "val_b_mae": 2.0 - epoch % 2})

    lag = AlternatingLag(rates, MONITOR, reference={"a": 1.0, "b": 1.0}, floor=1e-9)
    history = trained.fit(data, epochs=4, verbose=0, callbacks=[lag]).history
    assert history["share_a"] == [1.0, 0.0, 1.0, 0.0]
    # A task without rows has a loss of 0 in the epoch.
    assert [loss == 0 for loss in history["a_loss"]] == [False, True, False, True]
    assert [loss == 0 for loss in history["b_loss"]] == [True, False, True, False]


def test_a_resumed_run_is_bitwise_equal(tmp_path):
    _, expected_rates, expected_model, expected_logs = train(5, tmp_path / "uninterrupted")
    train(3, tmp_path / "resumed")
    for path in (tmp_path / "resumed").glob("step-*"):
        if int(path.name[5:15]) > 21:
            path.unlink()
    _, rates, resumed, logs = train(5, tmp_path / "resumed")
    np.testing.assert_array_equal(rates.history, expected_rates.history)
    assert len(np.unique(expected_rates.history[:, 0])) > 1
    for one, other in zip(resumed.get_weights(), expected_model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert logs == expected_logs


@pytest.mark.parametrize(
    ("name", "values", "gaps"),
    [
        ("val_f1", [0.5, 0.4, 0.8, 0.6], [0, 0.2, 0, 0.25]),
        ("val_loss", [2.0, 3.0, 1.0, 1.5], [0, 0.5, 0, 0.5]),
        ("val_pearson", [-0.5, -0.6], [0, 0.2]),
        ("val_f1", [0.0, 0.0, 0.5], [0, 0, 0]),
        ("val_loss", [0.0, 0.25], [0, 0.25]),
    ],
)
def test_lag_behind_the_best_value(name, values, gaps):
    rates = Rates(["a", "b"])
    lag = DynamicRates(rates, {"a": name, "b": "val_other"})
    lag.set_model(model())
    lag.settled, lag.best = [rates.history], [np.full(2, np.nan)]
    for epoch, (value, gap) in enumerate(zip(values, gaps, strict=True)):
        lag.on_epoch_end(epoch, {name: value, "val_other": 1.0})
        expected = np.array([max(gap, 0.01), 0.01])
        np.testing.assert_allclose(rates.history[-1], expected / expected.sum())


def test_a_second_fit_starts_with_the_initial_rates():
    rates = Rates(["a", "b"], initial={"a": 3, "b": 1})
    data, trained = mixture(rates), model()
    lag = DynamicRates(rates, {"a": "a_mae", "b": "b_mae"}, {"a": 1.0, "b": 1e-3})
    one, other = (trained.fit(data, epochs=2, verbose=0, callbacks=[lag]).history for _ in range(2))
    assert one["share_a"][0] == other["share_a"][0]
    assert rates.history.shape == (3, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"monitor": {"a": "x"}}, "`monitor` must have the sources \\['a', 'b'\\]"),
        ({"reference": {"a": 1.0}}, "`reference` must have the sources"),
        ({"reference": {"a": 1.0, "b": 0.0}}, "`reference\\['b'\\]` must be a finite number other than 0"),
        ({"floor": 0.0}, "`floor` must be above 0"),
    ],
)
def test_bad_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        DynamicRates(Rates(["a", "b"]), **{"monitor": MONITOR, **options})


def test_errors_in_fit():
    rates, trained = Rates(["a", "b"]), model()
    lag = DynamicRates(rates, MONITOR)
    with pytest.raises(ValueError, match="`rates` must be those of the mixture"):
        trained.fit(mixture(Rates(["a", "b"])), verbose=0, callbacks=[lag])
    with pytest.raises(ValueError, match="`steps_per_epoch` must be 8"):
        trained.fit(mixture(rates), steps_per_epoch=4, verbose=0, callbacks=[lag])
    with pytest.raises(ValueError, match="'val_a_mae', which is not in the logs"):
        trained.fit(mixture(rates), verbose=0, callbacks=[lag])
