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


def step(made, number):
    """What a training step calls, and the answers: an objective with its derivatives, weights, or a direction."""
    losses, jacobian = tf.constant(LOSSES[number]), tf.constant(JACOBIANS[number])
    if made.kind == "losses":
        with tf.GradientTape() as tape:
            tape.watch(losses)
            objective = made(losses)
        answers = [objective, *tape.gradient(objective, [losses, *(v.value for v in made.trainable_variables)])]
    else:
        values = jacobian if made.kind == "jacobian" else tf.matmul(jacobian, jacobian, transpose_b=True)
        answers = [made.transform(losses), made(values, losses=losses)]
    if made.observes_update:
        made.observe(0.9 * losses)
    if made.needs_validation:
        made.learn(losses - 1)
    if number % 2:
        made.end_epoch()
    return [np.array(answer) for answer in answers]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@every_method
def test_state_is_made_by_add_state(method):
    """So that all replicas hold the same, and nothing is summed over them; calls make no further variable."""
    made = bound(method)
    variables = [v.path for v in made.variables]
    assert len(set(variables)) == len(variables)
    for number in range(2):
        step(made, number)
    assert [v.path for v in made.variables] == variables
    assert {v.aggregation for v in made.non_trainable_variables} <= {"only_first_replica"}
    assert {v.dtype for v in made.variables} <= {"float32", "int64"}
    assert {v.dtype for v in made.trainable_variables} <= {"float32"}


@every_method
def test_draws_follow_the_seed(method):
    """The same calls of equal methods have the same answers, whatever TensorFlow's seed; draws differ between calls."""
    one = bound(method)
    other = methods.bound_copy(one, WIDTH)
    tf.random.set_seed(1)
    answers = [step(one, number) for number in range(6)]
    tf.random.set_seed(2)
    assert all(equal(answer, step(other, number)) for number, answer in enumerate(answers))
    if "draws" not in methods.traits(method):
        return
    repeated = [step(one, 0) for _ in range(8)]
    assert not all(equal(answer, repeated[0]) for answer in repeated)
    reseeded = methods.bound_copy(type(one).from_config({**one.get_config(), "seed": one.seed + 1}), WIDTH)
    assert not all(equal(answer, step(reseeded, number)) for number, answer in enumerate(answers))


@every_method
def test_state_is_all_that_a_method_remembers(method):
    """After some calls, a fresh method with the same variables has the same answers."""
    one = bound(method)
    for number in range(3):
        step(one, number)
    other = methods.bound_copy(one, WIDTH)
    for variable, value in zip(other.variables, one.variables, strict=True):
        variable.assign(value)
    for number in range(3, 6):
        assert equal(step(one, number), step(other, number))
    for variable, value in zip(other.variables, one.variables, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=value.path)


@every_method
def test_config(method):
    made = methods.make(method)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(made))
    assert type(again) is method
    assert again.get_config() == made.get_config()
