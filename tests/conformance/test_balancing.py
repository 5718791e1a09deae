"""Every balancing method trains with missing labels, the same on any number of replicas, and keeps its state."""

import functools

import examples
import keras
import numpy as np
import pytest
from balancing_methods import BUILT_IN, TASKS, B, batches, compiled, fit, make

import tf_mtl as mtl

every_method = pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.__name__)
OF_GRADIENTS = [method for method in BUILT_IN if not issubclass(method, B.Scalarizer)]
OF_PARAMETERS_ONLY = {B.SDMGrad, B.MoDo, B.MoCo, B.DBMTL, B.ExcessMTL}


@functools.cache
def on_one_device(method):
    made = compiled(method, jit_compile=False)
    return made, fit(made)


def same(one, other, tolerance=1e-4):
    assert examples.largest_difference(one.get_weights(), other.get_weights()) < tolerance
    for a, b in zip(one.balancing.variables, other.balancing.variables, strict=True):
        scale = max(np.abs(a.numpy()).max(), 1e-6)
        np.testing.assert_allclose(b.numpy() / scale, a.numpy() / scale, atol=tolerance, err_msg=a.path)


def test_the_methods_are_found():
    assert len(BUILT_IN) == 35
    assert {method.__name__.lower() for method in BUILT_IN} >= {"equal", "autolambda", "every", "excessmtl"}


@every_method
def test_trains_with_missing_labels(method):
    made, logs = on_one_device(method)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert logs["loss"][-1] < logs["loss"][0]
    assert made.balancing.tasks == TASKS
    expected = {"loss", *(f"{task}_loss" for task in TASKS)}
    if not issubclass(method, B.Aggregator) and not method.weights_are_constant:
        expected |= {f"weight/{task}" for task in TASKS}
    if not issubclass(method, B.Scalarizer):
        expected |= {"conflict", "cosine/a/b", "cosine/a/c", "cosine/b/c"}
    assert set(logs) == expected


@every_method
def test_two_replicas_equal_one(method):
    one, logs = on_one_device(method)
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method)
    assert two.distribute_strategy.num_replicas_in_sync == 2
    found = fit(two)
    same(one, two)
    for name, values in logs.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


@every_method
def test_an_interrupted_run_ends_with_the_same_weights(method, tmp_path):
    """With the same seed: two epochs, saved, loaded, and one more, beside three in one go; bit for bit."""
    one, _ = on_one_device(method)
    made = compiled(method, jit_compile=False)
    fit(made, epochs=2)
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again.balancing) is method
    assert again.balancing.get_config() == made.balancing.get_config()
    for a, b in zip(made.balancing.variables, again.balancing.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    if method is B.AutoLambda:
        with pytest.raises(ValueError, match=r"set model\.balancing\.validation"):
            fit(again, epochs=1)
        again.balancing.validation = batches(seed=1)
    fit(again, epochs=1)
    same(one, again, tolerance=1e-7)


@pytest.mark.parametrize("method", OF_GRADIENTS, ids=lambda method: method.__name__)
def test_features(method):
    if method in OF_PARAMETERS_ONLY:
        with pytest.raises(ValueError, match=rf"'features' cannot be had with {method.__name__}"):
            compiled(method, gradients="features")
        return
    made = compiled(method, gradients="features", jit_compile=False)
    logs = fit(made, epochs=2)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert logs["loss"][-1] < logs["loss"][0]


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in OF_GRADIENTS if m not in OF_PARAMETERS_ONLY], ids=lambda m: m.__name__)
def test_features_on_two_replicas(method):
    one = compiled(method, gradients="features", jit_compile=False)
    fit(one)
    with mtl.distribute.strategy("mirrored").scope():
        two = compiled(method, gradients="features")
    fit(two)
    same(one, two)


@every_method
def test_mixed_precision(method):
    made = compiled(method, policy="mixed_bfloat16", jit_compile=False)
    logs = fit(made)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert logs["loss"][-1] < logs["loss"][0]
    assert {v.dtype for v in made.balancing.variables} <= {"float32", "int64"}


@pytest.mark.slow
@every_method
def test_under_xla(method):
    """What is compiled with XLA does the same; the random ones draw the same numbers."""
    one, _ = on_one_device(method)
    made = compiled(method, jit_compile=True)
    fit(made)
    same(one, made, tolerance=1e-3)


@every_method
def test_config(method):
    made = make(method)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert again.get_config() == made.get_config()
