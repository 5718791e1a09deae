"""Early stopping on several tasks: scores compared with NumPy, best weights, resuming."""

import keras
import numpy as np
import pytest

import tf_mtl as mtl
from tf_mtl.callbacks._multi_task_early_stopping import MultiTaskEarlyStopping

MONITOR = {"a": "val_a_score", "b": "val_b_loss"}


@keras.saving.register_keras_serializable("tests")
class FixedResult(keras.metrics.Metric):
    """A metric whose result is a variable."""

    def __init__(self, name="score", **kwargs):
        super().__init__(name=name, **kwargs)
        self.value = self.add_variable((), "zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        pass

    def result(self):
        return self.value + 0.0

    def reset_state(self):
        pass


class SetResults(keras.callbacks.Callback):
    """Writes given results to the logs, and the epoch to the weights."""

    def __init__(self, results):
        super().__init__()
        self.results = results

    def on_epoch_end(self, epoch, logs=None):
        logs.update({name: values[epoch] for name, values in self.results.items()})
        for v in self.model.weights:
            v.assign(np.full(v.shape, epoch + 1.0))


def build():
    keras.utils.set_random_seed(0)
    x = keras.Input((3,))
    h = keras.layers.Dense(2, name="encoder")(x)
    model = mtl.MultiTaskModel(x, {name: keras.layers.Dense(1, name=name)(h) for name in "ab"})
    model.compile("sgd", loss="mse", metrics={"a": [FixedResult()], "b": []}, run_eagerly=True)
    return model


DATA = np.ones((4, 3), "float32"), {name: np.ones(4, "float32") for name in "ab"}


def fit_with_results(a, b, callbacks=(), monitor=MONITOR, **options):
    """Run one epoch for each result; return the callback and the history."""
    model, stop = build(), MultiTaskEarlyStopping(monitor, **options)
    set_results = SetResults({"val_a_score": a, "val_b_loss": b})
    history = model.fit(
        *DATA, epochs=len(a), validation_data=DATA, verbose=0, callbacks=[set_results, *callbacks, stop]
    ).history
    return stop, history


def epoch_of(model):
    (value,) = {float(x) for array in model.get_weights() for x in array.ravel()}
    return value - 1


A, B = [0.5, 0.6, 0.4, 0.7, 0.3], [2.0, 1.0, 4.0, 3.0, 5.0]


def gains(reference):
    return np.array([(np.array(A) - reference[0]) / reference[0], (reference[1] - np.array(B)) / reference[1]])


@pytest.mark.parametrize("reference", [None, {"a": 0.8, "b": 1.5}])
def test_scores(reference):
    gains_of_tasks = gains([A[0], B[0]] if reference is None else [0.8, 1.5])
    expected = {
        "mean": ({}, gains_of_tasks.mean(0)),
        "weighted": ({"weights": {"a": 3.0, "b": 1.0}}, gains_of_tasks[0] * 0.75 + gains_of_tasks[1] * 0.25),
        "worst": ({"worst": True}, gains_of_tasks.min(0)),
    }
    for options, scores in expected.values():
        _, history = fit_with_results(A, B, reference=reference, patience=9, **options)
        np.testing.assert_allclose(history["val_gain"], scores, rtol=1e-6, atol=1e-9)


def test_a_mean_over_single_task_results_is_that_of_the_report():
    _, history = fit_with_results(A, B, reference={"a": 0.8, "b": 1.5}, patience=9)
    table = mtl.report.compare({"a": {"score": A[2]}, "b": {"loss": B[2]}}, {"a": {"score": 0.8}, "b": {"loss": 1.5}})
    assert history["val_gain"][2] == pytest.approx(table.gain_per_task)


def test_stops_and_restores():
    stop, history = fit_with_results(A, B, patience=2)
    assert len(history["loss"]) == 4
    assert (stop.best_epoch, stop.best) == (1, pytest.approx(0.35))
    assert epoch_of(stop.model) == 1
    assert (stop.best_epoch_of("a"), stop.best_epoch_of("b")) == (3, 1)
    stop.restore("a")
    assert epoch_of(stop.model) == 3
    stop.restore("b")
    assert epoch_of(stop.model) == 1
    assert len(stop._kept) == 2 * len(stop.model.weights)  # epoch 1 is the best of all tasks and of b


def test_keeps_the_last_weights_without_restore_best_weights():
    stop, _ = fit_with_results(A, B, patience=2, restore_best_weights=False)
    assert epoch_of(stop.model) == 3
    stop.restore()
    assert epoch_of(stop.model) == 1


def test_min_delta_and_start_from_epoch():
    increasing = [1.0, 1.01, 1.02, 1.03, 1.04]
    assert len(fit_with_results(increasing, [1.0] * 5, patience=2)[1]["loss"]) == 5
    assert len(fit_with_results(increasing, [1.0] * 5, patience=2, min_delta=0.02)[1]["loss"]) == 3
    stop, history = fit_with_results([1.0, 0.5, 0.6, 0.55, 0.5], [1.0] * 5, patience=2, start_from_epoch=1)
    assert (stop.best_epoch, len(history["loss"])) == (2, 5)
    np.testing.assert_allclose(history["val_gain"][2], (0.6 - 1.0) / 2)


def test_first_results_of_0_and_nan():
    _, history = fit_with_results([0.0, 0.0, 0.2, 0.3, 0.4], [1.0] * 5, patience=9)
    np.testing.assert_allclose(history["val_gain"], [-0.5, -0.5, 0.0, 0.25, 0.5], rtol=1e-6)
    stop, history = fit_with_results([np.nan, 0.2, np.nan, 0.1, 0.3], [1.0] * 5, patience=9)
    np.testing.assert_allclose(history["val_gain"], [np.nan, 0.0, np.nan, -0.25, 0.25], rtol=1e-6)
    assert (stop.best_epoch, stop.best_epoch_of("a"), stop.best_epoch_of("b")) == (4, 4, 0)


def test_negative_references_and_given_directions():
    _, history = fit_with_results([-0.5, -0.25, -1.0], [1.0] * 3, patience=9)
    np.testing.assert_allclose(history["val_gain"], [0.0, 0.25, -0.5])
    _, history = fit_with_results([0.5, 0.25, 1.0], [1.0, 2.0, 1.0], patience=9, lower_is_better=["a"])
    np.testing.assert_allclose(history["val_gain"], [0.0, 0.75, -0.5])


def test_epochs_without_validation_do_not_count():
    model, stop = build(), MultiTaskEarlyStopping({"b": "val_b_loss"}, patience=1)
    model.compile(keras.optimizers.SGD(0.0), loss="mse", run_eagerly=True)
    history = model.fit(*DATA, epochs=9, validation_data=DATA, validation_freq=2, verbose=0, callbacks=[stop]).history
    assert (len(history["loss"]), len(history["val_gain"])) == (4, 2)


def test_metrics_of_training():
    model, stop = build(), MultiTaskEarlyStopping({"b": "b_loss"}, patience=2)
    losses = model.fit(*DATA, epochs=3, verbose=0, callbacks=[stop]).history
    np.testing.assert_allclose(losses["val_gain"], 1 - np.array(losses["b_loss"]) / losses["b_loss"][0], rtol=1e-6)


def test_two_replicas():
    with mtl.distribute.strategy("mirrored").scope():
        model = build()
        model.compile(keras.optimizers.SGD(0.5), loss="mse", jit_compile=False)
    weights_by_epoch = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights_by_epoch.append(model.get_weights())
    )
    stop = MultiTaskEarlyStopping({"a": "val_a_loss", "b": "val_b_loss"}, patience=2)
    model.fit(*DATA, epochs=6, validation_data=DATA, verbose=0, callbacks=[record, stop])
    assert stop.best_epoch >= 0
    for value, expected in zip(model.get_weights(), weights_by_epoch[stop.best_epoch], strict=True):
        np.testing.assert_array_equal(value, expected)


def test_a_resumed_run_equals_an_uninterrupted_run(tmp_path):
    def run(a, b, folder):
        checkpoint = mtl.callbacks.Checkpoint(tmp_path / folder)
        stop, history = fit_with_results(a, b, callbacks=[checkpoint], patience=2)
        state = [stop.best_epoch, stop.best_epoch_of("a"), stop.best_epoch_of("b"), stop.best, stop.wait]
        restored_epoch = epoch_of(stop.model)
        stop.restore("a")
        return state, restored_epoch, epoch_of(stop.model), history["val_gain"]

    uninterrupted = run(A, B, "uninterrupted")
    run(A[:3], B[:3], "resumed")
    assert run(A, B, "resumed") == uninterrupted
    assert run(A, B, "resumed") == uninterrupted  # also after the end of the run


def test_errors_in_fit():
    model = build()

    def fit(monitor, validation=DATA):
        model.fit(*DATA, validation_data=validation, verbose=0, callbacks=[MultiTaskEarlyStopping(monitor)])

    with pytest.raises(ValueError, match=r"'val_a_scores'.*Did you mean 'val_a_score'"):
        fit({"a": "val_a_scores"})
    with pytest.raises(ValueError, match="unknown key 'c'"):
        fit({"c": "val_a_score"})
    with pytest.raises(ValueError, match="no `validation_data`"):
        fit({"a": "val_a_score"}, validation=None)


def test_bad_arguments():
    def bad(match, monitor=MONITOR, **options):
        with pytest.raises(ValueError, match=match):
            MultiTaskEarlyStopping(monitor, **options)

    bad("`monitor` must be a dict", monitor="val_loss")
    bad("`monitor` must be a dict", monitor={})
    bad("`patience` must be an integer, at least 1", patience=0)
    bad("`reference` must have one entry per task", reference={"a": 1.0})
    bad(r"`reference\['b'\]` must be a finite number other than 0", reference={"a": 1.0, "b": 0.0})
    bad("Leave out one of them", weights={"a": 1.0, "b": 1.0}, worst=True)
    bad("one of them above 0", weights={"a": 0.0, "b": 0.0})
    bad("Did you mean 'a'", lower_is_better=["A"])
    with pytest.raises(ValueError, match="no best epoch yet"):
        MultiTaskEarlyStopping(MONITOR).restore()
