"""Every balancing method, called outside `fit`: its state, draws and config."""

import balancing_methods as methods
import keras
import numpy as np
import pytest
import tensorflow as tf
from balancing_methods import BUILT_IN, TASKS

every_method = pytest.mark.parametrize("method", BUILT_IN, ids=lambda method: method.__name__)
WIDTH = 12
JACOBIANS = np.random.default_rng(0).normal(size=(6, len(TASKS), WIDTH)).astype("float32")
LOSSES = np.random.default_rng(1).uniform(0.5, 2, (6, len(TASKS))).astype("float32")
LOSSES[2, 0] = JACOBIANS[2, 0] = 0  # no labels for `a`


def bound(method):
    return methods.bound_copy(methods.make(method), WIDTH)


def call_step(method, number):
    """Call a method as a training step does; return its results: objective and derivatives, weights, or direction."""
    losses, jacobian = tf.constant(LOSSES[number]), tf.constant(JACOBIANS[number])
    if method.kind == "losses":
        with tf.GradientTape() as tape:
            tape.watch(losses)
            objective = method(losses)
        results = [objective, *tape.gradient(objective, [losses, *(v.value for v in method.trainable_variables)])]
    else:
        values = jacobian if method.kind == "jacobian" else tf.matmul(jacobian, jacobian, transpose_b=True)
        results = [method.transform(losses), method(values, losses=losses)]
    if method.observes_update:
        method.observe(0.9 * losses)
    if method.needs_validation:
        method.learn(losses - 1)
    if number % 2:
        method.end_epoch()
    return [np.array(result) for result in results]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@every_method
def test_state_is_created_by_add_state(method):
    """All replicas hold the same values, which are not summed, and calls create no further variables."""
    bound_method = bound(method)
    variables = [v.path for v in bound_method.variables]
    assert len(set(variables)) == len(variables)
    for number in range(2):
        call_step(bound_method, number)
    assert [v.path for v in bound_method.variables] == variables
    assert {v.aggregation for v in bound_method.non_trainable_variables} <= {"only_first_replica"}
    assert {v.dtype for v in bound_method.variables} <= {"float32", "int64"}
    assert {v.dtype for v in bound_method.trainable_variables} <= {"float32"}


@every_method
def test_draws_depend_only_on_the_seed(method):
    """Equal methods give equal results, whatever TensorFlow's seed is; draws differ from call to call."""
    one = bound(method)
    other = methods.bound_copy(one, WIDTH)
    tf.random.set_seed(1)
    results = [call_step(one, number) for number in range(6)]
    tf.random.set_seed(2)
    assert all(equal(result, call_step(other, number)) for number, result in enumerate(results))
    if "draws" not in methods.traits(method):
        return
    repeated = [call_step(one, 0) for _ in range(8)]
    assert not all(equal(result, repeated[0]) for result in repeated)
    reseeded = methods.bound_copy(type(one).from_config({**one.get_config(), "seed": one.seed + 1}), WIDTH)
    assert not all(equal(result, call_step(reseeded, number)) for number, result in enumerate(results))


@every_method
def test_variables_hold_the_whole_state(method):
    """After some calls, a fresh method with the same variables gives the same results."""
    one = bound(method)
    for number in range(3):
        call_step(one, number)
    other = methods.bound_copy(one, WIDTH)
    for variable, value in zip(other.variables, one.variables, strict=True):
        variable.assign(value)
    for number in range(3, 6):
        assert equal(call_step(one, number), call_step(other, number))
    for variable, value in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=value.path)


@every_method
def test_config(method):
    instance = methods.make(method)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(instance))
    assert type(restored) is method
    assert restored.get_config() == instance.get_config()
