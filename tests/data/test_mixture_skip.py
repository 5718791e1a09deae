"""A mixture from any step on: the elements that a full reading gives, and what is read for them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.data import _passes


def sources(counter=None):
    """Two sources of 10 and 7 rows, which count the rows read."""

    def rows(name, first, size):
        dataset = tf.data.Dataset.range(first, first + size)
        if counter is not None:
            dataset = dataset.map(lambda n: (counter.assign_add(1), n)[1])
        return dataset.map(lambda n: (tf.cast(n, tf.float32)[None], {name: n}))

    return {"a": rows("a", 0, 10), "b": rows("b", 100, 7)}


def contents(dataset, count):
    return [batch[0].numpy().ravel().tolist() for batch in dataset.take(count)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3},
        {"batch_size": 3, "shuffle_buffer": 4},
        {"batch_size": 4, "shuffle_buffer": 50, "batches": "homogeneous"},
        {"batch_size": 3, "rates": lambda step: {"a": 1.0, "b": tf.cast(step % 3, tf.float32)}},
    ],
    ids=["rows", "batches", "shuffled", "homogeneous", "changing rates"],
)
def test_same_elements(options):
    mixture = mtl.data.mix(sources(), seed=1, **options)
    expected = contents(mixture, 60)
    for step in (1, 10, 23, 50):
        assert contents(mixture.skip(step), 60 - step) == expected[step:]


def test_earlier_passes_are_not_read(monkeypatch):
    monkeypatch.setattr(_passes, "_has_state", lambda dataset: False)  # it sees the counter
    counter = tf.Variable(0, dtype=tf.int64)
    mixture = mtl.data.mix(sources(counter), batch_size=2, shuffle_buffer=3, seed=1)
    contents(mixture.skip(100_000), 1)
    assert 0 < int(counter) < 40


def with_layer(source):
    noise = keras.layers.GaussianNoise(1.0, seed=3)
    return source.map(lambda x, y: (noise(x, training=True), y))


STATEFUL = {
    "shuffle": lambda source: source.shuffle(10, seed=1),
    "random numbers": lambda source: source.map(lambda x, y: (x + tf.random.uniform([1], seed=3), y)),
    "a layer": with_layer,
}


@pytest.mark.parametrize("change", STATEFUL.values(), ids=STATEFUL)
def test_sources_with_state_are_read_from_the_start(change):
    def mixture():
        tf.random.set_seed(0)
        return mtl.data.mix({n: change(source) for n, source in sources().items()}, batch_size=2, seed=1)

    expected = contents(mixture(), 40)
    assert contents(mixture().skip(30), 10) == expected[30:]


def test_shares_are_those_of_the_elements():
    mixture = mtl.data.mix(sources(), batch_size=5, seed=4)
    rows = np.concatenate([batch[0].numpy().ravel() for batch in mixture.take(1100)])[15:]
    assert mixture.shares(3, 1097) == {"a": np.mean(rows < 100), "b": np.mean(rows >= 100)}
