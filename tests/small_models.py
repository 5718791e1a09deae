"""Small models, data and balancing methods that several tests use."""

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

LOSS = {"topic": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}


def model(model_class=mtl.MultiTaskModel, seed=3, inputs=6):
    """A shared layer and two heads; the same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((inputs,), name="x")
    h = keras.layers.Dense(8, activation="tanh", name="encoder")(x)
    outputs = {
        "topic": keras.layers.Dense(3, name="topic")(h),
        "price": keras.layers.Dense(1, name="price")(h),
    }
    return model_class(x, outputs)


def full_data(rows=40, inputs=6, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs)).astype("float32")
    y = {"topic": rng.integers(0, 3, rows), "price": rng.normal(size=rows).astype("float32")}
    return x, y


def ragged_data(rows=40, inputs=6, seed=0):
    """Data with missing labels: -1 or NaN, with weight 0; rows 8 to 15 have no topic at all."""
    x, y = full_data(rows, inputs, seed)
    rng = np.random.default_rng(seed + 1)
    weight = {"topic": (rng.random(rows) < 0.5), "price": (rng.random(rows) < 0.7)}
    weight["topic"][8:16] = False
    weight["topic"][16:21] = True
    weight["price"][20:24] = False
    y = {
        "topic": np.where(weight["topic"], y["topic"], -1),
        "price": np.where(weight["price"], y["price"], np.nan).astype("float32"),
    }
    return x, y, {task: w.astype("float32") for task, w in weight.items()}


def batches(data, size=8):
    return tf.data.Dataset.from_tensor_slices(data).batch(size)


@keras.saving.register_keras_serializable("tests")
class InverseNorm(mtl.balancing.Weighting):
    """Weights inverse to the gradients' norms, with a count of its calls."""

    def build(self, input_shape):
        self.calls = self.add_state("calls", ())

    def call(self, gramian, losses=None):
        self.calls.assign(self.calls + 1)
        weights = tf.math.rsqrt(tf.linalg.diag_part(gramian) + 1e-6)
        return weights / tf.reduce_sum(weights)


@keras.saving.register_keras_serializable("tests")
class Normalised(mtl.balancing.Aggregator):
    """The sum of the gradients divided by the Jacobian's norm."""

    def call(self, jacobian, losses=None):
        return tf.reduce_sum(jacobian, 0) / (tf.norm(jacobian) + 1e-6)


@keras.saving.register_keras_serializable("tests")
class LearnedWeights(mtl.balancing.Scalarizer):
    """sum exp(-s) L + s with trainable s."""

    def build(self, input_shape):
        self.s = self.add_weight(shape=input_shape, initializer="zeros", name="s")

    def call(self, losses):
        return tf.reduce_sum(tf.exp(-self.s) * losses + self.s)


@keras.saving.register_keras_serializable("tests")
class SumOfGradients(mtl.balancing.Weighting):
    """Weight 1 for every task, computed from the Gramian."""

    def call(self, gramian, losses=None):
        return tf.ones(tf.shape(gramian)[0])


@keras.saving.register_keras_serializable("tests")
class SumOfRows(mtl.balancing.Aggregator):
    """The sum of the Jacobian's rows."""

    def call(self, jacobian, losses=None):
        return tf.reduce_sum(jacobian, 0)


def largest_difference(one, other):
    """The largest difference between arrays of two lists, relative to the largest entry of the first list's array.

    The scale is at least 1e-3: the key bias of an attention layer, which has no effect, contains only rounding errors.
    """
    return max(np.max(np.abs(a - b)) / max(np.max(np.abs(a)), 1e-3) for a, b in zip(one, other, strict=True))
