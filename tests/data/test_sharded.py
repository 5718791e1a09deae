import keras
import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl._pipeline import division, feed

SIZES = (7, 4, 9)


def shard(index):
    """Rows whose inputs are 100 * index + position, one task with weights and one without."""
    x = 100.0 * index + np.arange(SIZES[index])
    y = {"a": x + 0.25, "b": np.stack([x, -x], -1)}
    return tf.data.Dataset.from_tensor_slices(({"x": x, "name": x.astype("str")}, y, {"a": np.full(len(x), 0.5)}))


def test_uneven_shards_against_numpy():
    batches = list(mtl.data.sharded(shard, 3, batch_size=6).as_numpy_iterator())
    assert len(batches) == 5
    for step, (x, y, weight) in enumerate(batches):
        positions = [(i, p) for i in range(3) for p in (2 * step, 2 * step + 1)]
        expected = [100 * i + min(p, SIZES[i] - 1) for i, p in positions]
        present = np.array([p < SIZES[i] for i, p in positions])
        np.testing.assert_array_equal(x["x"], expected)
        assert [float(name) for name in x["name"]] == expected
        np.testing.assert_array_equal(y["a"], x["x"] + 0.25)
        np.testing.assert_array_equal(y["b"], np.stack([x["x"], -x["x"]], -1))
        np.testing.assert_array_equal(weight["a"], 0.5 * present)
        np.testing.assert_array_equal(weight["b"], present)
        assert weight["a"].dtype == weight["b"].dtype == np.float32


@pytest.mark.parametrize("workers", [1, 3])
def test_the_workers_parts_make_the_batch(workers):
    batches = mtl.data.sharded(shard, 3, batch_size=6)
    parts = [batches.of_worker(index, workers) for index in range(workers)]
    assert {len(part) for part in parts} == {len(batches)} == {5}
    for batch, *of_workers in zip(batches, *parts, strict=True):
        joined = tf.nest.map_structure(lambda *t: tf.concat(t, 0), *of_workers)
        tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), joined, batch)


def test_one_shard_gives_plain_batches():
    rows = tf.data.Dataset.from_tensor_slices(small_models.full_data(rows=12))
    batches, plain = mtl.data.sharded(lambda index: rows, 1, batch_size=4), rows.batch(4, drop_remainder=True)
    assert batches.element_spec == plain.element_spec
    for batch, expected in zip(batches, plain, strict=True):
        tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), batch, expected)


@pytest.mark.parametrize("seed", [3, None])
def test_shuffled_shards_have_a_new_order_in_each_pass(seed):
    """The order of a worker is that of one process, also where a shuffle is seeded by Keras alone."""
    rows = tf.data.Dataset.range(16).map(lambda n: (n, {"a": n}))

    def batches():
        keras.utils.set_random_seed(1)
        return mtl.data.sharded(lambda index: rows.shard(2, index).shuffle(8, seed=seed), 2, batch_size=4)

    data, part = batches(), batches().of_worker(1, 2)
    whole, second_half = ([np.stack([x for x, _ in d.as_numpy_iterator()]) for _ in range(2)] for d in (data, part))
    for order, half in zip(whole, second_half, strict=True):
        assert sorted(order.ravel()) == list(range(16))
        np.testing.assert_array_equal(half, order[:, 2:])
    assert (whole[0] != whole[1]).any()


def test_endless_shards():
    rows = tf.data.Dataset.range(3).map(lambda n: (n, {"a": n})).repeat()
    batches = mtl.data.sharded(lambda index: rows.skip(index), 2, batch_size=4)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    assert [x.numpy().tolist() for x, _ in batches.take(2)] == [[0, 1, 1, 2], [2, 0, 0, 1]]


def test_mixtures_of_rows_as_shards():
    a, b = (tf.data.Dataset.range(8).map(lambda n, task=task: (n, {task: n})) for task in "ab")

    def mixture(index):
        return mtl.data.mix({"a": a.shard(2, index), "b": b.shard(2, index)}, "uniform", seed=index)

    batches = mtl.data.sharded(mixture, 2, batch_size=4)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    pieces = [list(mixture(index).batch(2).take(3)) for index in range(2)]
    for (x, _, weight), *of_shards in zip(batches.take(3), *pieces, strict=True):
        np.testing.assert_array_equal(x, np.concatenate([piece[0] for piece in of_shards]))
        np.testing.assert_array_equal(weight["a"], np.concatenate([piece[2]["a"] for piece in of_shards]))


def test_evaluation_and_training_count_each_row_once():
    x, y, weight = small_models.ragged_data(rows=21)
    model = small_models.model()
    model.compile("sgd", loss=small_models.LOSS)
    rows = tf.data.Dataset.from_tensor_slices((x, y, weight))
    batches = mtl.data.sharded(lambda index: rows.shard(3, index).take(9 - 2 * index), 3, batch_size=6)
    expected = model.evaluate(rows.batch(21), verbose=0, return_dict=True)
    all_rows = mtl.data.sharded(lambda index: rows.shard(3, index), 3, batch_size=6)
    results = model.evaluate(all_rows, verbose=0, return_dict=True)
    for name, value in expected.items():
        assert results[name] == pytest.approx(value, rel=1e-5), name
    assert np.isfinite(model.fit(batches, validation_data=batches, verbose=0).history["val_loss"]).all()
    with pytest.raises(ValueError, match="`x` of `predict` must give rows in the order.*Pass a data set of batches"):
        model.predict(batches)


def test_a_worker_checks_and_evaluates_its_part(monkeypatch):
    """Two replicas that pass for one of two workers."""
    x, y = small_models.full_data(rows=12)
    y["price"][1] = np.nan  # a row of the second shard
    rows = tf.data.Dataset.from_tensor_slices((x, y))
    batches = mtl.data.sharded(lambda index: rows.shard(2, index), 2, batch_size=4)
    with mtl.distribute.strategy("mirrored").scope():
        model = small_models.model()
        model.compile("sgd", loss=small_models.LOSS)
    monkeypatch.setattr(feed, "worker_index", lambda strategy: (0, 2))
    results = model.evaluate(batches, verbose=0, return_dict=True)
    assert results == model.evaluate(rows.shard(2, 0).batch(2), verbose=0, return_dict=True)
    monkeypatch.setattr(feed, "worker_index", lambda strategy: (1, 2))
    with pytest.raises(ValueError, match=r"`y\['price'\]` must not hold NaN"):
        model.evaluate(batches, verbose=0)


def test_the_replicas_of_a_worker_divide_its_part():
    """Five rows of a worker with two replicas, of which the first is the seventh of the batch."""
    strategy = mtl.distribute.strategy("mirrored")
    values = tf.range(5.0)
    part = division.Rows(tf.constant(6), (values, {"a": values}))
    divided = strategy.run(lambda: division.divide(part))
    first, second = (
        tf.nest.map_structure(lambda v, r=replica: strategy.experimental_local_results(v)[r].numpy(), divided[0])
        for replica in range(2)
    )
    assert (first.first, second.first) == (6, 9)
    assert (first.data[0].tolist(), second.data[0].tolist()) == ([0, 1, 2], [3, 4, 4])
    assert (first.data[2]["a"].tolist(), second.data[2]["a"].tolist()) == ([1, 1, 1], [1, 1, 0])


@pytest.mark.slow
def test_rows_from_the_tf_data_service():
    """One data worker sends the rows in order; two would each send all of them."""
    service = tf.data.experimental.service
    dispatcher = service.DispatchServer()
    config = service.WorkerConfig(dispatcher.target.split("://")[1])
    workers = [service.WorkerServer(config)]

    def remote(index):
        sent = shard(index).apply(service.distribute(service.ShardingPolicy.OFF, dispatcher.target))
        return sent.apply(tf.data.experimental.assert_cardinality(SIZES[index])).shuffle(9, seed=index)

    def local(index):
        return shard(index).shuffle(9, seed=index)

    batches, expected = (mtl.data.sharded(function, 3, batch_size=6) for function in (remote, local))
    for _ in range(2):
        for batch, same in zip(batches, expected, strict=True):
            tf.nest.map_structure(lambda a, b: np.testing.assert_array_equal(a, b), batch, same)
    workers.append(service.WorkerServer(config))
    with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain"):
        list(batches)


ROWS = tf.data.Dataset.range(4).map(lambda n: (n, {"a": n}))


@pytest.mark.parametrize(
    ("shard", "arguments", "error", "message"),
    [
        (lambda i: ROWS, (2, 5), ValueError, "`batch_size` must be divisible by `shards`.*batch_size=5.*example 6"),
        (lambda i: ROWS, (0, 4), ValueError, "`shards` must be an integer, at least 1, received 0"),
        (lambda i: [1], (1, 4), TypeError, "`shard` must return a tf.data.Dataset of rows, received list for 0"),
        (lambda i: ROWS.batch(2), (1, 4), ValueError, r"'shard\(0\)' gives batches.*Remove its `batch`"),
        (lambda i: ROWS.take(i), (2, 4), ValueError, r"'shard\(0\)' is empty"),
        (lambda i: ROWS.map(lambda x, y: x), (1, 4), TypeError, r"'shard\(0\)' must give rows"),
        (
            lambda i: ROWS.filter(lambda x, y: True) if i else ROWS,
            (2, 4),
            ValueError,
            "of known size.*of unknown size for 1. Apply tf.data.experimental.assert_cardinality",
        ),
        (lambda i: ROWS.repeat() if i else ROWS, (2, 4), ValueError, "endless one for 1 and one of 4 rows for 0"),
        (
            lambda i: ROWS.map(lambda x, y: (tf.cast(x, tf.int32), y)) if i else ROWS,
            (2, 4),
            ValueError,
            "rows of one structure for all indices",
        ),
        (
            lambda i: ROWS.map(lambda x, y: (tf.range(x), y)),
            (2, 4),
            ValueError,
            "rows of fixed shapes.*at 0. Pad rows to one length",
        ),
    ],
)
def test_errors(shard, arguments, error, message):
    with pytest.raises(error, match=message):
        mtl.data.sharded(shard, *arguments)


def test_workers_that_do_not_divide_the_shards():
    with pytest.raises(ValueError, match="divisible by the number of workers, received shards=2 for 3 workers"):
        mtl.data.sharded(lambda index: ROWS, 2, batch_size=4).of_worker(0, 3)
    with pytest.raises(ValueError, match="`index` must be below `workers`, received index=2 and workers=2"):
        mtl.data.sharded(lambda index: ROWS, 2, batch_size=4).of_worker(2, 2)
