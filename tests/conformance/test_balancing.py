"""Every balancing method trains with missing labels, the same on any number of replicas, and keeps its state."""

import functools
import json
import subprocess
import sys
from pathlib import Path

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
    if not issubclass(method, B.Aggregator) and not method.constant:
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


@pytest.mark.slow
def test_four_replicas_equal_one():
    """In a process of its own, which splits the CPU into four."""
    script = Path(__file__).with_name("four_replicas.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    differences = json.loads(done.stdout.splitlines()[-1])
    assert differences.keys() == {method.__name__ for method in BUILT_IN}
    assert max(differences.values()) < 1e-4, differences


@every_method
def test_round_trip_keeps_state(method, tmp_path):
    made = compiled(method, run_eagerly=True)
    fit(made, epochs=2)
    made.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    again.run_eagerly = True
    assert type(again.balancing) is method
    assert again.balancing.get_config() == made.balancing.get_config()
    for a, b in zip(made.balancing.variables, again.balancing.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    if method is B.AutoLambda:
        with pytest.raises(ValueError, match=r"set model\.balancing\.validation"):
            fit(again, epochs=1)
        again.balancing.validation = batches(seed=1)
    fit(made, epochs=1)
    fit(again, epochs=1)
    same(made, again, tolerance=1e-6)


@pytest.mark.parametrize("method", OF_GRADIENTS, ids=lambda method: method.__name__)
def test_features(method):
    if method in OF_PARAMETERS_ONLY:
        with pytest.raises(ValueError, match=rf"'features' cannot be had with {method.__name__}"):
            compiled(method, gradients="features")
        return
    made = compiled(method, gradients="features", run_eagerly=True)
    logs = fit(made)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert logs["loss"][-1] < logs["loss"][0]


@every_method
def test_mixed_precision(method):
    made = compiled(method, policy="mixed_bfloat16", run_eagerly=True)
    logs = fit(made)
    assert all(np.isfinite(values).all() for values in logs.values())
    assert logs["loss"][-1] < logs["loss"][0]
    assert {v.dtype for v in made.balancing.variables} <= {"float32", "int64"}


@every_method
def test_the_same_seed_gives_the_same_weights(method):
    one, other = (compiled(method, dropout=0.3, run_eagerly=True) for _ in range(2))
    fit(one, epochs=1)
    fit(other, epochs=1)
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


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
