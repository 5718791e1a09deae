"""Batches of rows that differ in length, on their own and in mixtures."""

import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl
from tf_mtl.data._batch_by_length import batch_by_length

LENGTHS = [3, 9, 1, 12, 4, 8, 2, 11, 5, 7]


def sentences(lengths=LENGTHS, task="tags", first=0):
    """Row i contains i + 1 at all positions."""
    numbers = np.arange(first, first + len(lengths)) + 1
    rows = tf.data.Dataset.from_tensor_slices((np.array(lengths), numbers))
    return rows.map(lambda length, i: ({"ids": tf.repeat(i, length), "row": i}, {task: tf.repeat(i, length)}))


def padded(rows, lengths):
    batch = np.zeros((len(rows), max(lengths[i] for i in rows)), int)
    for position, i in enumerate(rows):
        batch[position, : lengths[i]] = i + 1
    return batch


def test_batches_are_padded_and_the_last_may_be_smaller():
    batches = list(batch_by_length(sentences(), 4))
    for (x, y), rows in zip(batches, ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9]), strict=True):
        np.testing.assert_array_equal(x["ids"], padded(rows, LENGTHS))
        np.testing.assert_array_equal(y["tags"], padded(rows, LENGTHS))
    assert len(list(batch_by_length(sentences(), 4, drop_remainder=True))) == 2


def test_boundaries_group_rows_of_similar_length():
    batches = [(x["row"].numpy() - 1).tolist() for x, _ in batch_by_length(sentences(), 2, boundaries=[4, 8])]
    assert sorted(row for rows in batches for row in rows) == list(range(10))
    groups = [{int(np.digitize(LENGTHS[i], [4, 8])) for i in rows} for rows in batches]
    assert all(len(group) == 1 for group in groups)
    repeated = [(x["row"].numpy() - 1).tolist() for x, _ in batch_by_length(sentences(), 2, boundaries=[4, 8])]
    assert batches == repeated


def test_all_unknown_axes_are_padded_to_one_length():
    rows = sentences().map(lambda x, y: (x, {"tags": y["tags"][:1], "words": tf.fill([2], "a")}))
    rows = rows.map(lambda x, y: (x, {**y, "words": tf.ensure_shape(tf.strings.split("a b"), [None])}))
    _, y = next(iter(batch_by_length(rows, 4)))
    np.testing.assert_array_equal(y["tags"], [[i + 1] + [0] * 11 for i in range(4)])
    assert y["words"].shape == (4, 12)
    assert y["words"][0].numpy().tolist() == [b"a", b"b"] + [b""] * 10


def test_labels_longer_than_the_inputs_keep_their_length():
    rows = sentences([3, 2]).map(lambda x, y: (x, {**y, "reply": tf.fill([tf.size(x["ids"]) * 2], 1)}))
    x, y = next(iter(batch_by_length(rows, 2)))
    assert x["ids"].shape == y["tags"].shape == (2, 3)
    assert y["reply"].numpy().tolist() == [[1] * 6, [1] * 4 + [0] * 2]


@pytest.mark.parametrize("batches", ["mixed", "homogeneous"])
@pytest.mark.parametrize("boundaries", [None, [5]])
def test_mixtures_pad_missing_labels(batches, boundaries):
    other_lengths = [2, 10, 6]
    tagged = sentences().map(lambda x, y: (x, y, {"tags": tf.cast(y["tags"] % 2, tf.float64)}))
    sources = {"a": tagged, "b": sentences(other_lengths, "slots", first=100)}
    lengths = {**dict(enumerate(LENGTHS)), **{100 + i: length for i, length in enumerate(other_lengths)}}
    options = {"batch_size": 4, "batches": batches, "boundaries": boundaries}
    mixture = mtl.data.mix(sources, "uniform", seed=0, **options)
    assert mixture.element_spec[0]["ids"].shape.as_list() == [4, None]
    drawn_rows = set()
    for x, y, weight in mixture.take(30):
        rows = (x["row"].numpy() - 1).tolist()
        drawn_rows.update(rows)
        expected, from_b = padded(rows, lengths), np.array([[i >= 100] for i in rows])
        np.testing.assert_array_equal(x["ids"], expected)
        np.testing.assert_array_equal(y["tags"], np.where(from_b, 0, expected))
        np.testing.assert_array_equal(y["slots"], np.where(from_b, expected, 0))
        np.testing.assert_array_equal(weight["tags"], np.where(from_b, 0, expected % 2))
        np.testing.assert_array_equal(weight["slots"], from_b[:, 0])
        assert weight["tags"].dtype == weight["slots"].dtype == tf.float32
        assert boundaries is None or len({lengths[i] >= 5 for i in rows}) == 1
        assert batches == "mixed" or len(np.unique(from_b)) == 1
    assert len(drawn_rows) == 13


def test_one_of_two_sources_has_weights_per_label():
    weighted = sentences(first=100).map(lambda x, y: (x, y, {"tags": tf.ones(tf.shape(y["tags"])) / 2}))
    for batches in ("mixed", "homogeneous"):
        mixture = mtl.data.mix({"a": sentences(), "b": weighted}, batch_size=4, batches=batches, seed=0)
        for _, y, weight in mixture.take(20):
            expected = np.select([y["tags"] > 100, y["tags"] > 0], [0.5, 1.0], 0.0)
            np.testing.assert_array_equal(weight["tags"], expected)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (sentences(), {"batch_size": 0}, "`batch_size` must be"),
        (sentences(), {"batch_size": 2, "boundaries": [5, 3]}, "`boundaries` must be increasing"),
        (sentences(), {"batch_size": 2, "boundaries": []}, "`boundaries` must be increasing"),
        (tf.data.Dataset.range(3), {"batch_size": 2, "boundaries": [3]}, "inputs have no unknown axis"),
        (tf.data.Dataset.range(3).map(lambda i: tf.py_function(lambda j: j, [i], tf.int64)), {"batch_size": 2}, "rank"),
    ],
)
def test_errors(rows, options, message):
    with pytest.raises(ValueError, match=message):
        batch_by_length(rows, **options)
