"""Extra forward passes have no side effects, and Auto-Lambda learns the right weights from them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine import lookahead

B = mtl.balancing


class RecordingFAMO(B.FAMO):
    """FAMO that records the losses after the update."""

    def build(self, input_shape):
        super().build(input_shape)
        self.observed = self.add_state("observed", input_shape)

    def observe(self, losses):
        self.observed.assign(losses)


def compiled_model(method, learning_rate=0.1):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    h = keras.layers.Dense(6)(x)
    h = keras.layers.BatchNormalization()(h)
    h = keras.layers.Dropout(0.5, seed=3)(h)
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in "ab"})
    model.compile(keras.optimizers.SGD(learning_rate), loss="mse", balancing=method, metrics={"a": ["mae"], "b": []})
    return model


def data(seed=0, rows=16):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype("float32")
    return tf.data.Dataset.from_tensors((x, {task: rng.normal(size=rows).astype("float32") for task in "ab"}))


def forward_state(model):
    """The variables that a forward pass in training updates: moving statistics, seeds, metrics."""
    weights = {id(v) for v in model.trainable_variables}
    metrics = [v for metric in model.metrics[:2] for v in metric.variables]
    return [v.numpy() for v in [*model.non_trainable_variables, *metrics] if id(v) not in weights]


@pytest.mark.parametrize("method", [B.FAMO, lambda: B.AutoLambda(data(1))])
def test_statistics_seeds_and_metrics_are_updated_once(method):
    extra, plain = compiled_model(method(), learning_rate=0.0), compiled_model(B.ScaleInvariant(), learning_rate=0.0)
    for model in (extra, plain):
        model.fit(data(), epochs=2, verbose=0)
    assert len(forward_state(plain)) >= 5
    for a, b in zip(forward_state(plain), forward_state(extra), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_second_pass_draws_the_same_masks():
    """With a learning rate of 0, the losses are the same before and after the update."""
    model = compiled_model(RecordingFAMO(), learning_rate=0.0)
    logs = model.fit(data(), verbose=0).history
    np.testing.assert_allclose(model.balancing.observed.numpy(), [logs["a_loss"][0], logs["b_loss"][0]], rtol=1e-6)
    model.compile(keras.optimizers.SGD(0.05), loss="mse", balancing=RecordingFAMO())
    logs = model.fit(data(), verbose=0).history
    assert model.balancing.observed.numpy().sum() < logs["loss"][0]


def test_auto_lambda_approximates_the_exact_gradient():
    """On a linear model, finite differences approximate the derivative of the validation loss by each weight."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    h = keras.layers.Dense(3, use_bias=False, name="h")(x)
    model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, use_bias=False, name=task)(h) for task in "ab"})
    learned_gradients = []

    class RecordingAutoLambda(B.AutoLambda):
        def learn(self, gradient):
            learned_gradients.append(gradient.numpy())

    method = RecordingAutoLambda(data(1), preference={"a": 3.0, "b": 1.0})
    model.compile(keras.optimizers.SGD(0.1), loss="mse", balancing=method, run_eagerly=True)
    variables = [tf.Variable(v.value) for v in model.trainable_variables]
    model.fit(data(), verbose=0)

    def losses(values, batch):
        kernel, *heads = values
        inputs, y = batch
        return [tf.reduce_mean(((inputs @ kernel @ w)[:, 0] - y[t]) ** 2) for t, w in zip("ab", heads, strict=True)]

    training, validation = next(iter(data(0))), next(iter(data(1)))
    weights = tf.constant([0.1, 0.1])
    with tf.GradientTape() as outer:
        outer.watch(weights)
        with tf.GradientTape() as inner:
            total = tf.tensordot(weights, tf.stack(losses(variables, training)), 1)
        lookahead_values = [v - 0.1 * g for v, g in zip(variables, inner.gradient(total, variables), strict=True)]
        loss = tf.tensordot([1.5, 0.5], tf.stack(losses(lookahead_values, validation)), 1)
    np.testing.assert_allclose(learned_gradients[0], outer.gradient(loss, weights), rtol=1e-2)


def test_auto_lambda_learns_which_task_helps():
    """Only task a counts in the validation loss, and the labels of b have the opposite sign."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    labels = x[:, 0]
    train = tf.data.Dataset.from_tensors((x, {"a": labels, "b": -labels}))
    method = B.AutoLambda(train, learning_rate=0.01, preference={"a": 1.0, "b": 0.0})
    model = compiled_model(method, learning_rate=0.01)
    model.fit(train.repeat(20), verbose=0)
    a, b = method.loss_weights.numpy()
    assert a > 0.15
    assert a > b


def test_errors_of_auto_lambda():
    model = compiled_model(B.AutoLambda())
    with pytest.raises(ValueError, match="pass AutoLambda\\(validation=dataset\\)"):
        model.fit(data(), verbose=0)
    model = compiled_model(B.AutoLambda(data(1)))
    x, y = next(iter(data()))
    with pytest.raises(ValueError, match="needs `x` to be a tf.data.Dataset"):
        model.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="learns from other batches as well: train with `fit`"):
        model.train_on_batch(x, y)
    assert np.isfinite(model.evaluate(data(), verbose=0)).all()


def test_forward_with_other_values():
    model = compiled_model("equal")
    x = tf.ones((2, 4))
    before = model(x)["a"].numpy()
    doubled = [2 * v.value for v in model.trainable_variables]
    lookahead.forward(model, x, lookahead.seed_state(model), doubled)
    np.testing.assert_array_equal(model(x)["a"], before)
