"""EMA and Every around methods of each kind, compared with NumPy step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl

B = mtl.balancing
LOSSES = np.random.default_rng(0).uniform(0.5, 2, (5, 3)).astype("float32")
JACOBIANS = np.random.default_rng(1).normal(size=(5, 3, 4)).astype("float32")


class Squares(B.Scalarizer):
    """The sum of L^2, whose weights are 2 L."""

    def call(self, losses):
        return tf.reduce_sum(losses**2)


class FirstRow(B.Aggregator):
    """The first task's gradient."""

    def call(self, jacobian, losses=None):
        return jacobian[0]


def weights(method, losses):
    """Return the derivatives of a scalarizer's objective, which are the tasks' weights."""
    losses = tf.constant(losses)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        objective = method(losses)
    return tape.gradient(objective, losses).numpy()


def averages(values, beta):
    means = [values[0]]
    for value in values[1:]:
        means.append(beta * means[-1] + (1 - beta) * value)
    return means


def test_ema_of_a_scalarizer_averages_its_weights():
    method = B.EMA(Squares(), beta=0.8)
    all_weights = [weights(method, losses) for losses in LOSSES]
    np.testing.assert_allclose(all_weights, averages(2 * LOSSES, 0.8), rtol=1e-5)


def test_ema_of_an_aggregator_averages_its_direction():
    method = B.EMA(FirstRow(), beta=0.8)
    directions = [method(jacobian).numpy() for jacobian in JACOBIANS]
    np.testing.assert_allclose(directions, averages(JACOBIANS[:, 0], 0.8), rtol=1e-5, atol=1e-6)


def test_a_task_without_labels_keeps_its_average():
    method, losses = B.EMA(Squares(), beta=0.5), LOSSES.copy()
    losses[1, 2] = 0
    all_weights = [weights(method, row) for row in losses]
    assert all_weights[1][2] == all_weights[0][2]
    np.testing.assert_allclose(all_weights[2][2], 0.5 * all_weights[0][2] + 0.5 * 2 * losses[2, 2], rtol=1e-5)


def test_every_around_a_scalarizer_reuses_its_weights():
    method = B.Every(Squares(), 2)
    all_weights = [weights(method, losses) for losses in LOSSES]
    np.testing.assert_allclose(all_weights, 2 * LOSSES[[0, 0, 2, 2, 4]], rtol=1e-5)


def test_every_around_an_aggregator_reuses_its_direction():
    method = B.Every(FirstRow(), 2)
    directions = [method(jacobian).numpy() for jacobian in JACOBIANS]
    np.testing.assert_allclose(directions, JACOBIANS[[0, 0, 2, 2, 4], 0], rtol=1e-6)


@pytest.mark.parametrize("inner", [B.Uncertainty, B.FAMO, B.GradDrop], ids=lambda kind: kind.__name__)
def test_ema_trains_in_a_model(inner):
    """With beta=0 it equals the wrapped method, including the method's variables and state."""

    def trained(method):
        keras.utils.set_random_seed(0)
        x = keras.Input((4,))
        h = keras.layers.Dense(5, "tanh")(x)
        model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in "ab"})
        model.compile(keras.optimizers.Adam(0.05), loss="mse", balancing=method, jit_compile=False)
        data = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
        model.fit(data, {"a": data[:, 0], "b": data[:, 1]}, batch_size=4, epochs=2, shuffle=False, verbose=0)
        return [*model.get_weights(), *(v.numpy() for v in model.balancing.trainable_variables)]

    keras.utils.set_random_seed(0)
    expected = trained(inner() if inner is not B.GradDrop else inner(seed=1))
    actual = trained(B.EMA(inner() if inner is not B.GradDrop else inner(seed=1), beta=0.0))
    for value, expected_value in zip(actual, expected, strict=True):
        np.testing.assert_allclose(value, expected_value, rtol=1e-4, atol=1e-6)


def test_methods_that_are_not_supported_raise():
    with pytest.raises(TypeError, match="`method` must be a method of tf_mtl.balancing, received 'equal'"):
        B.EMA("equal")
    with pytest.raises(ValueError, match="must not learn from validation batches, as AutoLambda does"):
        B.EMA(B.AutoLambda())
    with pytest.raises(
        ValueError, match="must not have state, which would miss the steps in between, received GradDrop"
    ):
        B.Every(B.GradDrop(seed=1), 2)(JACOBIANS[0])
