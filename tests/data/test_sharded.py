import numpy as np
import pytest
import small_models
import tensorflow as tf

import tf_mtl as mtl

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


def test_shuffled_shards_have_a_new_order_in_each_pass():
    rows = tf.data.Dataset.range(16).map(lambda n: (n, {"a": n}))
    first, second = (
        mtl.data.sharded(lambda index: rows.shard(2, index).shuffle(8, seed=index), 2, batch_size=4) for _ in range(2)
    )
    passes = [np.concatenate([x for x, _ in first.as_numpy_iterator()]) for _ in range(2)]
    assert all(sorted(order) == list(range(16)) for order in passes)
    assert (passes[0] != passes[1]).any()
    part = second.of_worker(1, 2)
    for order in passes:
        np.testing.assert_array_equal(
            np.concatenate([x for x, _ in part.as_numpy_iterator()]).reshape(4, 2), [*order.reshape(4, 2, 2)[:, 1]]
        )


def test_endless_shards():
    rows = tf.data.Dataset.range(3).map(lambda n: (n, {"a": n})).repeat()
    batches = mtl.data.sharded(lambda index: rows.skip(index), 2, batch_size=4)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    assert [x.numpy().tolist() for x, _ in batches.take(2)] == [[0, 1, 1, 2], [2, 0, 0, 1]]


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
