"""Training a multi-task model leaves the user's optimizer unchanged."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def plain_weights(optimizer):
    """Train one Dense layer in a plain model on two replicas; return its kernel on each of them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices((x, 3 * x[:, :1])).batch(16)
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(optimizer, loss="mse")
    model.fit(data, epochs=1, verbose=0)
    return [value.numpy() for value in model.distribute_strategy.experimental_local_results(model.weights[0].value)]


def multi_task_model(optimizer):
    inputs = keras.Input((4,))
    model = mtl.MultiTaskModel(inputs, {"a": keras.layers.Dense(1)(inputs), "b": keras.layers.Dense(1)(inputs)})
    model.compile(optimizer, loss="mse")
    return model


@pytest.mark.parametrize("trained", [False, True], ids=["compiled", "trained"])
def test_an_optimizer_compiled_into_a_plain_model_still_sums_over_replicas(trained):
    with mtl.distribute.strategy("mirrored").scope():
        expected = plain_weights(keras.optimizers.SGD(0.1))
        optimizer = keras.optimizers.SGD(0.1)
        model = multi_task_model(optimizer)
        if trained:
            model.train_on_batch(np.ones((4, 4)), {"a": np.ones(4), "b": np.ones(4)})
            optimizer = keras.optimizers.SGD.from_config(optimizer.get_config())
        first, second = plain_weights(optimizer)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, expected[0])


@pytest.mark.parametrize("strategy", ["one_device", "mirrored"])
def test_training_adds_no_methods_to_the_optimizers(strategy):
    with mtl.distribute.strategy(strategy).scope():
        inner = keras.optimizers.AdamW(0.1)
        before = set(vars(inner))
        optimizer = mtl.Layerwise(inner, {})
        model = multi_task_model(optimizer)
        model.fit(np.ones((8, 4)), {"a": np.ones(8), "b": np.ones(8)}, batch_size=4, verbose=0)
    added = set(vars(inner)) - before
    assert not any(callable(vars(inner)[name]) for name in added), added
    assert "_all_reduce_sum_gradients" not in {*vars(inner), *vars(optimizer)}
    assert inner.update_step.__func__ is keras.optimizers.AdamW.update_step
