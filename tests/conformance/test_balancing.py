"""Every balancing method in `fit`: missing labels, saving and resuming, two replicas, `gradients="features"`."""

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import reference_steps
import small_models
from balancing_methods import BUILT_IN, REPRESENTATIVES, TASKS, B, batches, compiled, fit, traits, with_slow_marks

import tf_mtl as mtl

every_method = pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.__name__)
representative_methods = pytest.mark.parametrize("method", with_slow_marks(BUILT_IN))  # the slow tests take all methods
FEWEST = (B.Uncertainty, B.FAMO, B.UPGrad, B.GradDrop, B.DWA)  # each kind, and state that an epoch ends
fewest_methods = pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=[] if m in FEWEST else pytest.mark.slow, id=m.__name__) for m in BUILT_IN],
)
GRADIENT_METHODS = [method for method in BUILT_IN if not issubclass(method, B.Scalarizer)]
PARAMETERS_ONLY = (B.SDMGrad, B.MoDo, B.MoCo, B.DBMTL, B.ExcessMTL)
VALIDATION = list(batches(seed=1))
FEATURE_METHODS = [method for method in GRADIENT_METHODS if method not in PARAMETERS_ONLY]


class SaveAfterTwoEpochs(keras.callbacks.Callback):
    """Saves the model after two epochs; keeps the content of the file and the method's state."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            with tempfile.TemporaryDirectory() as folder:
                self.model.save(Path(folder) / "model.keras")
                self.file = (Path(folder) / "model.keras").read_bytes()
            self.state = [v.numpy() for v in self.model.balancing.variables]


class Run(NamedTuple):
    """A trained model, its logs and snapshots of its steps; its file and its method's state after two epochs."""

    model: keras.Model
    logs: dict
    snapshots: list
    file: bytes
    state: list


def train(model):
    recorder, saver = reference_steps.Recorder(), SaveAfterTwoEpochs()
    logs = model.fit(batches(), epochs=3, verbose=0, callbacks=[recorder, saver]).history
    return Run(model, logs, recorder.snapshots, saver.file, saver.state)


@functools.cache
def on_one_device(method):
    return train(compiled(method, reference_steps.sgd(), jit_compile=False))


def assert_same_training(one, other, tolerance=1e-4):
    assert small_models.largest_difference(one.get_weights(), other.get_weights()) < tolerance
    for a, b in zip(one.balancing.variables, other.balancing.variables, strict=True):
        scale = max(np.abs(a.numpy()).max(), 1e-6)
        np.testing.assert_allclose(b.numpy() / scale, a.numpy() / scale, atol=tolerance, err_msg=a.path)


def test_all_methods_are_tested():
    assert len(BUILT_IN) == 35
    assert {method.__name__.lower() for method in BUILT_IN} >= {"equal", "autolambda", "every", "excessmtl"}


def test_representatives_have_all_traits_and_none_is_superfluous():
    by_method = {method: traits(method) for method in BUILT_IN}
    all_traits = set.union(*by_method.values())
    assert set.union(*(by_method[method] for method in REPRESENTATIVES)) == all_traits
    for method in REPRESENTATIVES:
        others = set.union(*(by_method[other] for other in REPRESENTATIVES if other is not method))
        assert others != all_traits, method


@representative_methods
def test_each_step_equals_the_reference(method):
    """Labels are missing: the second batch has none for `a`."""
    model, logs, snapshots, *_ = on_one_device(method)
    reference_steps.check_steps(model, snapshots, batches(), VALIDATION)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert model.balancing.tasks == TASKS
    expected = {"loss", *(f"{task}_loss" for task in TASKS)}
    if not issubclass(method, B.Aggregator) and not method.weights_are_constant:
        expected |= {f"weight/{task}" for task in TASKS}
    if not issubclass(method, B.Scalarizer):
        expected |= {"conflict", "cosine/a/b", "cosine/a/c", "cosine/b/c"}
    assert set(logs) == expected


@fewest_methods
def test_two_replicas_equal_one(method):
    """Methods see only values of the global batch."""
    one = on_one_device(method)
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method, reference_steps.sgd())
    assert two.distribute_strategy.num_replicas_in_sync == 2
    logs = fit(two)
    assert_same_training(one.model, two)
    for name, values in one.logs.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


@representative_methods
def test_an_interrupted_run_ends_with_the_same_weights(method, tmp_path):
    """Two epochs, saving, loading and a third epoch give bit for bit what three epochs in one run give."""
    run = on_one_device(method)
    (tmp_path / "model.keras").write_bytes(run.file)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.balancing) is method
    assert loaded.balancing.get_config() == run.model.balancing.get_config()
    for value, variable in zip(run.state, loaded.balancing.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    if method.needs_validation:
        with pytest.raises(ValueError, match=r"set model\.balancing\.validation"):
            fit(loaded, epochs=1)
        loaded.balancing.validation = batches(seed=1)
    fit(loaded, epochs=1)
    assert_same_training(run.model, loaded, tolerance=1e-7)


@pytest.mark.parametrize("method", PARAMETERS_ONLY, ids=lambda method: method.__name__)
def test_methods_that_do_not_support_features(method):
    with pytest.raises(ValueError, match=rf"'features' is not supported with {method.__name__}"):
        compiled(method, gradients="features")


@functools.cache
def trained_by_features(method):
    return train(compiled(method, reference_steps.sgd(), gradients="features", jit_compile=False))


@pytest.mark.parametrize("method", with_slow_marks(FEATURE_METHODS))
def test_each_step_by_features_equals_the_reference(method):
    model, logs, snapshots, *_ = trained_by_features(method)
    reference_steps.check_steps(model, snapshots, batches(), features=True)
    assert all(np.isfinite(values).all() for values in logs.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", FEATURE_METHODS, ids=lambda method: method.__name__)
def test_features_on_two_replicas(method):
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method, reference_steps.sgd(), gradients="features")
    fit(two)
    assert_same_training(trained_by_features(method).model, two)


@fewest_methods
def test_mixed_precision(method):
    model, logs, snapshots, *_ = train(
        compiled(method, reference_steps.sgd(), policy="mixed_bfloat16", jit_compile=False)
    )
    if method is not B.SDMGrad:  # whose inner steps, of length 10, amplify the rounding of 16 bits beyond comparison
        reference_steps.check_steps(model, snapshots, batches(), tolerance=0.02, given_state=True)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert {v.dtype for v in model.balancing.variables} <= {"float32", "int64"}


@pytest.mark.slow
@every_method
def test_under_xla(method):
    """A step compiled with XLA gives the same weights, and random methods draw the same numbers."""
    model = compiled(method, reference_steps.sgd(), jit_compile=True)
    fit(model)
    assert_same_training(on_one_device(method).model, model, tolerance=1e-3)
