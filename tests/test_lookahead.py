"""Extra forward passes leave no trace, and what Auto-Lambda learns from them is right."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine import lookahead

B = mtl.balancing


class Watching(B.FAMO):
    """FAMO that keeps the losses it was shown after the update."""

    def build(self, input_shape):
        super().build(input_shape)
        self.seen = self.add_state("seen", input_shape)

    def observe(self, losses):
        self.seen.assign(losses)


def model(method, learning_rate=0.1):
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    h = keras.layers.Dense(6)(x)
    h = keras.layers.BatchNormalization()(h)
    h = keras.layers.Dropout(0.5, seed=3)(h)
    made = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in "ab"})
    made.compile(keras.optimizers.SGD(learning_rate), loss="mse", balancing=method, metrics={"a": ["mae"], "b": []})
    return made


def data(seed=0, rows=16):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4)).astype("float32")
    return tf.data.Dataset.from_tensors((x, {task: rng.normal(size=rows).astype("float32") for task in "ab"}))


def traces(made):
    """What a forward pass in training moves: moving statistics, seeds, metrics."""
    weights = {id(v) for v in made.trainable_variables}
    metrics = [v for metric in made.metrics[:2] for v in metric.variables]
    return [v.numpy() for v in [*made.non_trainable_variables, *metrics] if id(v) not in weights]


@pytest.mark.parametrize("method", [B.FAMO, lambda: B.AutoLambda(data(1))])
def test_statistics_seeds_and_metrics_move_once(method):
    extra, plain = model(method(), learning_rate=0.0), model(B.ScaleInvariant(), learning_rate=0.0)
    for made in (extra, plain):
        made.fit(data(), epochs=2, verbose=0)
    assert len(traces(plain)) >= 5
    for a, b in zip(traces(plain), traces(extra), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_second_pass_draws_the_same_masks():
    """With a learning rate of 0 the losses after the update are those before it."""
    made = model(Watching(), learning_rate=0.0)
    logs = made.fit(data(), verbose=0).history
    np.testing.assert_allclose(made.balancing.seen.numpy(), [logs["a_loss"][0], logs["b_loss"][0]], rtol=1e-6)
    made.compile(keras.optimizers.SGD(0.05), loss="mse", balancing=Watching())
    logs = made.fit(data(), verbose=0).history
    assert made.balancing.seen.numpy().sum() < logs["loss"][0]


def test_auto_lambda_against_the_exact_gradient():
    """The finite differences against the derivative of the validation loss by each weight, on a linear model."""
    keras.utils.set_random_seed(1)
    x = keras.Input((4,))
    h = keras.layers.Dense(3, use_bias=False, name="h")(x)
    made = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, use_bias=False, name=task)(h) for task in "ab"})
    seen = []

    class Watched(B.AutoLambda):
        def learn(self, gradient):
            seen.append(gradient.numpy())

    method = Watched(data(1), preference={"a": 3.0, "b": 1.0})
    made.compile(keras.optimizers.SGD(0.1), loss="mse", balancing=method, run_eagerly=True)
    variables = [tf.Variable(v.value) for v in made.trainable_variables]
    made.fit(data(), verbose=0)

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
        ahead = [v - 0.1 * g for v, g in zip(variables, inner.gradient(total, variables), strict=True)]
        loss = tf.tensordot([1.5, 0.5], tf.stack(losses(ahead, validation)), 1)
    np.testing.assert_allclose(seen[0], outer.gradient(loss, weights), rtol=1e-2)


def test_auto_lambda_learns_which_task_helps():
    """The validation loss counts task a alone, and b's labels are noise of its own sign."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    good = x[:, 0]
    train = tf.data.Dataset.from_tensors((x, {"a": good, "b": -good}))
    method = B.AutoLambda(train, learning_rate=0.01, preference={"a": 1.0, "b": 0.0})
    made = model(method, learning_rate=0.01)
    made.fit(train.repeat(20), verbose=0)
    a, b = method.loss_weights.numpy()
    assert a > 0.15
    assert a > b


def test_auto_lambda_says_what_it_needs():
    made = model(B.AutoLambda())
    with pytest.raises(ValueError, match="pass AutoLambda\\(validation=dataset\\)"):
        made.fit(data(), verbose=0)
    made = model(B.AutoLambda(data(1)))
    x, y = next(iter(data()))
    with pytest.raises(ValueError, match="needs `x` to be a tf.data.Dataset"):
        made.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match="learns from other batches as well: train with `fit`"):
        made.train_on_batch(x, y)
    assert np.isfinite(made.evaluate(data(), verbose=0)).all()


def test_forward_with_other_values():
    made = model("equal")
    x = tf.ones((2, 4))
    before = made(x)["a"].numpy()
    doubled = [2 * v.value for v in made.trainable_variables]
    lookahead.forward(made, x, lookahead.seed_state(made), doubled)
    np.testing.assert_array_equal(made(x)["a"], before)
