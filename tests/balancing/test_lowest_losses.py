"""Losses that are too low for a method stop training before the step, with the names of the method and the tasks."""

import balancing_methods
import keras
import numpy as np
import pytest
import small_models

import tf_mtl as mtl

B = mtl.balancing
METHODS = {  # as test parameters
    "GLS": B.GLS,
    "ScaleInvariant": B.ScaleInvariant,
    "Uncertainty": B.Uncertainty,
    "UncertaintySoft": B.UncertaintySoft,
    "IMTLLoss": B.IMTLLoss,
    "IMTL": B.IMTL,
    "DBMTL": B.DBMTL,
    "GradNorm": B.GradNorm,
    "DWA": B.DWA,
    "FAMO": B.FAMO,
}


@keras.saving.register_keras_serializable("tests")
class Signed(keras.losses.Loss):
    """The prediction's square minus the label: negative where the label is large."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred), -1) - keras.ops.reshape(y_true, [-1])


def compiled(method, run="graph", **options):
    model = small_models.model()
    execution = {"run_eagerly": run == "eager", "jit_compile": run == "XLA"}
    loss = {"topic": small_models.LOSS["topic"], "price": Signed()}
    model.compile(keras.optimizers.Adam(0.01), loss=loss, balancing=method, **execution, **options)
    return model


def data(*prices):
    """Batches, each with one label for all of its prices."""
    x, y = small_models.full_data(rows=8 * len(prices))
    return small_models.batches((x, {"topic": y["topic"], "price": np.repeat(np.float32(prices), 8)}))


def state(model):
    return [v.numpy() for v in [*model.variables, *model.optimizer.variables, *model.balancing.variables]]


class Recorder(keras.callbacks.Callback):
    """Keeps the state after each step."""

    def __init__(self):
        super().__init__()
        self.states = []

    def on_train_batch_end(self, batch, logs=None):
        self.states.append(state(self.model))


def check_stops(model, name="GLS"):
    """Check that training stops before its second step."""
    recorder = Recorder()
    with pytest.raises(
        ValueError, match=rf"{name} needs losses of at least 0, .*another `balancing`.*price.*-9\d"
    ) as error:
        model.fit(data(-1, 99), verbose=0, callbacks=[recorder])
    assert "topic" not in str(error.value)
    (last,) = recorder.states
    for before, after in zip(last, state(model), strict=True):
        np.testing.assert_array_equal(before, after)
    model.fit(data(-1, -2), verbose=0)  # training can go on
    assert all(np.isfinite(values).all() for values in state(model))


QUICK = [("GLS", "graph"), ("DBMTL", "graph"), ("FAMO", "graph"), ("GLS", "XLA"), ("FAMO", "XLA")]


@pytest.mark.parametrize(
    ("name", "run"),
    [
        pytest.param(name, run, marks=[] if run == "eager" or (name, run) in QUICK else pytest.mark.slow)
        for name in METHODS
        for run in ("eager", "graph", "XLA")
    ],
)
def test_every_method(name, run):
    check_stops(compiled(METHODS[name](), run), name)


@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        (lambda: B.EMA(B.GLS()), "GLS", {}),
        (lambda: B.MGDA("loss+"), "MGDA", {"gradients": "features"}),
        (lambda: B.GradNorm(), "GradNorm", {"accumulate": 2}),
        (lambda: B.GLS(), "GLS", {"accumulate": 2}),
    ],
)
def test_options_and_wrappers(method, name, options):
    check_stops(compiled(method(), **options), name)


def test_replicas():
    with mtl.distribute.strategy("mirrored").scope():
        model = compiled(B.GLS())
    check_stops(model)


def test_train_on_batch():
    model = compiled(B.GLS())
    ((x, y),) = data(99)
    with pytest.raises(ValueError, match="GLS needs losses"):
        model.train_on_batch(x, y)


@pytest.mark.parametrize("run", ["graph", "XLA"])
def test_losses_after_the_update(run):
    """FAMO learns from them: they are checked as well."""
    x, y = small_models.full_data(rows=8)
    model = compiled(B.FAMO(), run)
    model.compile(
        keras.optimizers.SGD(1.0),
        loss={"topic": small_models.LOSS["topic"], "price": lambda y, p: p + 2},
        balancing="famo",
        jit_compile=run == "XLA",
    )
    with pytest.raises(ValueError, match="FAMO needs losses of at least 0"):
        model.fit(x, y, epochs=30, verbose=0)
    assert all(np.isfinite(v.numpy()).all() for v in model.balancing.variables)


def test_other_bounds():
    """FAMO subtracts its minimum; tasks without labels have the loss 0, which is never too low."""
    method = B.FAMO(minimum=0.5)
    method([0.6, 0.0])
    with pytest.raises(ValueError, match=r"FAMO needs losses of at least 0.5.*Received: \{1: 0.4"):
        method([0.6, 0.4])
    assert B.MGDA("l2").lowest_loss is None
    with pytest.raises(ValueError, match=r"MGDA needs losses of at least 0.*Received: \{0: -1"):
        B.MGDA("loss")(np.eye(2), losses=[-1.0, 1.0])


def test_all_methods_that_fail_are_tested():
    """All other methods take negative losses, and give finite weights that do not explode."""
    tested = [*METHODS.values(), B.EMA]
    for method in balancing_methods.BUILT_IN:
        made = balancing_methods.bound_copy(balancing_methods.make(method), 4)
        if made.lowest_loss is not None:
            assert method in tested
        elif made.kind == "losses":
            for _ in range(50):
                assert np.isfinite(made(-np.ones(3, "float32")))
                made.end_epoch()
