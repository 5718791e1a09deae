"""Every balancing method in `fit`: with missing labels, saved and continued, on two replicas, by features."""

import functools
import tempfile
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import small_models
import steps_by_hand as by_hand
from balancing_methods import BUILT_IN, REPRESENTATIVES, TASKS, B, batches, compiled, fit, representative, traits

import tf_mtl as mtl

every_method = pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.__name__)
each_kind = pytest.mark.parametrize("method", representative(BUILT_IN))  # all methods in the slow tests
OF_GRADIENTS = [method for method in BUILT_IN if not issubclass(method, B.Scalarizer)]
OF_PARAMETERS_ONLY = (B.SDMGrad, B.MoDo, B.MoCo, B.DBMTL, B.ExcessMTL)
VALIDATION = list(batches(seed=1))
OF_FEATURES = [method for method in OF_GRADIENTS if method not in OF_PARAMETERS_ONLY]


class SaveAfterTwoEpochs(keras.callbacks.Callback):
    """Keeps the file that the model is saved to after two epochs, and the method's state by then."""

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            with tempfile.TemporaryDirectory() as folder:
                self.model.save(Path(folder) / "model.keras")
                self.file = (Path(folder) / "model.keras").read_bytes()
            self.state = [v.numpy() for v in self.model.balancing.variables]


class Run(NamedTuple):
    """A trained model, its logs, its variables before and after each step; file and state after two epochs."""

    model: keras.Model
    logs: dict
    steps: list
    file: bytes
    state: list


def train(made):
    recorder, saver = by_hand.Recorder(), SaveAfterTwoEpochs()
    logs = made.fit(batches(), epochs=3, verbose=0, callbacks=[recorder, saver]).history
    return Run(made, logs, recorder.values, saver.file, saver.state)


@functools.cache
def on_one_device(method):
    return train(compiled(method, by_hand.sgd(), jit_compile=False))


def same(one, other, tolerance=1e-4):
    assert small_models.largest_difference(one.get_weights(), other.get_weights()) < tolerance
    for a, b in zip(one.balancing.variables, other.balancing.variables, strict=True):
        scale = max(np.abs(a.numpy()).max(), 1e-6)
        np.testing.assert_allclose(b.numpy() / scale, a.numpy() / scale, atol=tolerance, err_msg=a.path)


def test_the_methods_are_found():
    assert len(BUILT_IN) == 35
    assert {method.__name__.lower() for method in BUILT_IN} >= {"equal", "autolambda", "every", "excessmtl"}


def test_representatives_have_all_traits_and_none_is_superfluous():
    by_method = {method: traits(method) for method in BUILT_IN}
    every = set.union(*by_method.values())
    assert set.union(*(by_method[method] for method in REPRESENTATIVES)) == every
    for method in REPRESENTATIVES:
        others = set.union(*(by_method[other] for other in REPRESENTATIVES if other is not method))
        assert others != every, method


@every_method
def test_each_step_is_as_by_hand(method):
    """With missing labels: the second batch has none for `a`."""
    made, logs, steps, *_ = on_one_device(method)
    by_hand.check_steps(made, steps, batches(), VALIDATION)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert made.balancing.tasks == TASKS
    expected = {"loss", *(f"{task}_loss" for task in TASKS)}
    if not issubclass(method, B.Aggregator) and not method.weights_are_constant:
        expected |= {f"weight/{task}" for task in TASKS}
    if not issubclass(method, B.Scalarizer):
        expected |= {"conflict", "cosine/a/b", "cosine/a/c", "cosine/b/c"}
    assert set(logs) == expected


@each_kind
def test_two_replicas_equal_one(method):
    """The engine's property: a method is called with global values only."""
    one = on_one_device(method)
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method, by_hand.sgd())
    assert two.distribute_strategy.num_replicas_in_sync == 2
    logs = fit(two)
    same(one.model, two)
    for name, values in one.logs.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


@each_kind
def test_an_interrupted_run_ends_with_the_same_weights(method, tmp_path):
    """With the same seed: two epochs, saved, loaded, and one more, beside three in one go; bit for bit."""
    run = on_one_device(method)
    (tmp_path / "model.keras").write_bytes(run.file)
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.balancing) is method
    assert again.balancing.get_config() == run.model.balancing.get_config()
    for value, variable in zip(run.state, again.balancing.variables, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)
    if method.needs_validation:
        with pytest.raises(ValueError, match=r"set model\.balancing\.validation"):
            fit(again, epochs=1)
        again.balancing.validation = batches(seed=1)
    fit(again, epochs=1)
    same(run.model, again, tolerance=1e-7)


@pytest.mark.parametrize("method", OF_PARAMETERS_ONLY, ids=lambda method: method.__name__)
def test_features_are_refused(method):
    with pytest.raises(ValueError, match=rf"'features' is not supported with {method.__name__}"):
        compiled(method, gradients="features")


@functools.cache
def by_features(method):
    return train(compiled(method, by_hand.sgd(), gradients="features", jit_compile=False))


@pytest.mark.parametrize("method", representative(OF_FEATURES))
def test_each_step_by_features_is_as_by_hand(method):
    made, logs, steps, *_ = by_features(method)
    by_hand.check_steps(made, steps, batches(), features=True)
    assert all(np.isfinite(values).all() for values in logs.values())


@pytest.mark.slow
@pytest.mark.parametrize("method", OF_FEATURES, ids=lambda method: method.__name__)
def test_features_on_two_replicas(method):
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method, by_hand.sgd(), gradients="features")
    fit(two)
    same(by_features(method).model, two)


@each_kind
def test_mixed_precision(method):
    made, logs, steps, *_ = train(compiled(method, by_hand.sgd(), policy="mixed_bfloat16", jit_compile=False))
    by_hand.check_steps(made, steps, batches(), tolerance=0.02, given_state=True)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert {v.dtype for v in made.balancing.variables} <= {"float32", "int64"}


@pytest.mark.slow
@every_method
def test_under_xla(method):
    """What is compiled with XLA does the same; the random ones draw the same numbers."""
    made = compiled(method, by_hand.sgd(), jit_compile=True)
    fit(made)
    same(on_one_device(method).model, made, tolerance=1e-3)
