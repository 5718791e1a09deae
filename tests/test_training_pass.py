"""Forward and backward passes that each replica compiles with XLA: the same weights and logs as without."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._engine.training_pass import TrainingPass, compiles_passes

WAYS = {
    "scalarizer": {"balancing": "equal"},
    "features": {"balancing": "upgrad", "gradients": "features"},
    "learned weights": {"balancing": small_models.LearnedWeights},
    "parameters": {"balancing": "upgrad"},
    "aggregator": {"balancing": small_models.Normalised},
    "halves of the batch": {"balancing": "modo"},
    "micro-batches": {"balancing": "equal", "accumulate": 2},
}
QUICK = ["scalarizer", "features"]


def build(seed=3):
    """A model with embeddings, masks, statistics, random numbers, and penalties on weights and activities."""
    keras.utils.set_random_seed(seed)
    x = keras.Input((4,), dtype="int32")
    h = keras.layers.Embedding(9, 6, mask_zero=True)(x)
    h = keras.layers.Dense(8, use_bias=False, kernel_regularizer="l2", activity_regularizer="l2")(h)
    h = keras.layers.GaussianNoise(1e-9)(keras.layers.BatchNormalization()(h))  # XLA draws other random numbers
    topic = keras.layers.Dense(3, name="topic")(keras.layers.GlobalAveragePooling1D()(h))
    return mtl.MultiTaskModel(x, {"topic": topic, "price": keras.layers.Dense(1, name="price")(h)})


def train(jit_compile, balancing, **options):
    with mtl.distribute.strategy("mirrored").scope():
        model = build()
        balancing = balancing if isinstance(balancing, str) else balancing()
        loss = {"topic": keras.losses.SparseCategoricalCrossentropy(from_logits=True), "price": "mse"}
        model.compile(keras.optimizers.SGD(0.1), loss=loss, balancing=balancing, jit_compile=jit_compile, **options)
    random = np.random.default_rng(0)
    x = random.integers(0, 9, (20, 4))
    y = {"topic": random.integers(0, 3, 20), "price": random.normal(size=(20, 4, 1)).astype("float32")}
    weight = {"topic": random.integers(0, 2, 20).astype("float32")}
    logs = model.fit(x, y, sample_weight=weight, batch_size=8, shuffle=False, epochs=2, verbose=0).history
    return model, logs


def compiled_functions(function, *arguments):
    """The functions that XLA compiles in a traced function."""
    graph = tf.function(function).get_concrete_function(*arguments).graph
    return [f for f in graph.as_graph_def().library.function if f.attr["_XlaMustCompile"].b]


def matmuls(function):
    return sum("MatMul" in node.op for node in function.node_def)


def test_the_pass_is_compiled():
    model, x = build(), tf.zeros([2, 4], tf.int32)
    model.compile("sgd", loss="mse")
    assert not compiled_functions(lambda x: TrainingPass(model, False)(model, x), x)
    (function,) = compiled_functions(lambda x: TrainingPass(model, True)(model, x), x)
    assert matmuls(function) == 3


def test_the_heads_of_single_tasks_stay_outside():
    model, x = build(), tf.zeros([2, 4], tf.int32)
    model.compile("sgd", loss="mse")
    parts = mtl.partition(model)
    (function,) = compiled_functions(lambda x: TrainingPass(model, True).by_task(parts, x), x)
    assert matmuls(function) == 1


def test_auto_compiles_on_gpus_only():
    with mtl.distribute.strategy("mirrored").scope():
        model = build()
        assert compiles_passes(model, True, run_eagerly=False)
        assert not compiles_passes(model, True, run_eagerly=True)
        assert not compiles_passes(model, "auto", run_eagerly=False)
        assert not compiles_passes(model, False, run_eagerly=False)
    assert not compiles_passes(build(), True, run_eagerly=False)


@pytest.mark.parametrize("way", [way if way in QUICK else pytest.param(way, marks=pytest.mark.slow) for way in WAYS])
def test_same_as_without_xla(way):
    plain, plain_logs = train(False, **WAYS[way])
    compiled, logs = train(True, **WAYS[way])
    assert compiled._engine.compiled_passes
    assert not plain._engine.compiled_passes
    assert small_models.largest_difference(plain.get_weights(), compiled.get_weights()) < 1e-5
    for seed, other in zip(plain.non_trainable_variables, compiled.non_trainable_variables, strict=True):
        np.testing.assert_allclose(other, seed, rtol=1e-5, atol=1e-6)
    for name, values in plain_logs.items():
        np.testing.assert_allclose(logs[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


@keras.saving.register_keras_serializable("tests")
class Clipped(keras.layers.Dense):
    """Limits its kernel before each training step."""

    def call(self, inputs, training=None):
        if training:
            self.kernel.assign(keras.ops.clip(self.kernel, 0.0, 0.2))
        return super().call(inputs)


@pytest.mark.parametrize("kind", ["clipped", "spectral normalization"])
def test_a_part_that_changes_trained_variables_is_not_compiled(kind):
    def train_clipped(jit_compile):
        keras.utils.set_random_seed(0)
        with mtl.distribute.strategy("mirrored").scope():
            x = keras.Input((3,))
            layer = Clipped(4) if kind == "clipped" else keras.layers.SpectralNormalization(keras.layers.Dense(4))
            h = layer(x)
            model = mtl.MultiTaskModel(x, {task: keras.layers.Dense(1, name=task)(h) for task in "ab"})
            model.compile(keras.optimizers.SGD(0.3), loss="mse", jit_compile=jit_compile)
        inputs = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        model.fit(inputs, dict.fromkeys("ab", inputs[:, 0]), epochs=3, verbose=0)
        return model.get_weights()

    assert small_models.largest_difference(train_clipped(False), train_clipped(True)) < 1e-6
