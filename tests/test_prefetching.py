"""Batches that are copied to a device ahead of their step."""

import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._pipeline import prefetching


@pytest.fixture(autouse=True)
def _device(monkeypatch):
    """The second logical CPU takes the place of a GPU."""
    monkeypatch.setattr(prefetching, "gpus", lambda: tf.config.list_logical_devices("CPU")[1:])


def test_batches_are_on_the_device():
    dataset = prefetching.on_device(tf.data.Dataset.range(3).batch(2))
    batches = list(dataset)
    assert [batch.numpy().tolist() for batch in batches] == [[0, 1], [2]]
    assert all(batch.device.endswith("CPU:1") for batch in batches)


def test_training_and_evaluation_are_the_same(monkeypatch):
    def train():
        keras.utils.set_random_seed(0)
        model = small_models.model()
        model.compile("sgd", small_models.LOSS, jit_compile=False)
        data = small_models.batches(small_models.full_data())
        logs = model.fit(data, epochs=2, validation_data=data, verbose=0).history
        return logs, model.get_weights(), model.predict(data.map(lambda x, y: x), verbose=0)

    ahead = train()
    monkeypatch.setattr(prefetching, "gpus", list)
    for value, expected in zip(keras.tree.flatten(ahead), keras.tree.flatten(train()), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_data_that_stay_in_memory():
    rates = mtl.data.DynamicRates(["a"])
    rows = tf.data.Dataset.from_tensor_slices((np.zeros((4, 2)), {"t": np.zeros(4)}))
    stays = [
        tf.data.Dataset.from_tensor_slices(["a", "b"]),
        tf.data.Dataset.from_tensor_slices(tf.ragged.constant([[1], [2, 3]])),
        mtl.data.mix({"a": rows}, rates, batch_size=2, epoch=2).map(lambda *batch: batch),
    ]
    assert all(prefetching.on_device(dataset) is dataset for dataset in stays)
    with mtl.distribute.strategy("mirrored").scope():
        dataset = tf.data.Dataset.range(3)
        assert prefetching.on_device(dataset) is dataset
