import numpy as np
import pytest
import tensorflow as tf

import tf_mtl as mtl


def rows(count=600, log=None):
    """Return rows of words, vectors, scalars and ragged lists. Each row that is read adds an entry to `log`."""

    def row(number):
        if log is not None:
            tf.py_function(lambda: log.append(1), [], [])
        x = {"words": tf.fill([number % 4], tf.strings.as_string(number)), "vector": tf.fill([2], float("nan"))}
        y = {"label": number, "nested": tf.RaggedTensor.from_row_lengths(tf.range(number), [number - 1, 1])}
        return x, y, tf.cast(number % 2 == 0, tf.bool)

    return tf.data.Dataset.range(1, count + 1).map(row)


def assert_same(dataset, expected):
    assert dataset.element_spec == expected.element_spec
    for element, expected_element in zip(dataset, expected, strict=True):
        tensors, expected_tensors = tf.nest.flatten(element), tf.nest.flatten(expected_element)
        for tensor, expected_tensor in zip(tensors, expected_tensors, strict=True):
            assert type(tensor) is type(expected_tensor)
            if isinstance(tensor, tf.RaggedTensor):
                assert tensor.to_list() == expected_tensor.to_list()
            else:
                np.testing.assert_array_equal(tensor, expected_tensor)


@pytest.mark.parametrize("count", [1, 256, 600])
def test_the_cached_data_set_has_the_same_elements(tmp_path, count):
    cached = mtl.data.cache_tfrecords(rows(count), tmp_path / "new" / "a.tfrecord")
    assert int(cached.cardinality()) == count
    assert_same(cached, rows(count))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.tfrecord", "a.tfrecord.json"]


@pytest.mark.parametrize(
    "dataset",
    [
        tf.data.Dataset.range(5),
        tf.data.Dataset.range(0),
        tf.data.Dataset.range(5).filter(lambda n: n > 2),
        tf.data.Dataset.from_tensor_slices(tf.ragged.constant([["a"], [], ["b", "c"]])).map(tf.convert_to_tensor),
        tf.data.Dataset.from_tensor_slices(({"a": [1.5, 2.5]},)),
    ],
)
def test_other_structures(tmp_path, dataset):
    assert_same(mtl.data.cache_tfrecords(dataset, tmp_path / "a"), dataset)


def test_existing_files_are_not_written_again(tmp_path):
    log = []
    mtl.data.cache_tfrecords(rows(20, log), tmp_path / "a")
    assert len(log) == 20
    assert_same(mtl.data.cache_tfrecords(rows(20, log), tmp_path / "a"), rows(20))
    assert len(log) == 20


def test_another_element_spec(tmp_path):
    mtl.data.cache_tfrecords(tf.data.Dataset.from_tensors({"a": 1}), tmp_path / "a")
    with pytest.raises(
        ValueError, match=r"a holds elements of \{'a': 'int32 \(\)'\}.*float32.*Delete the file and a.json"
    ):
        mtl.data.cache_tfrecords(tf.data.Dataset.from_tensors({"a": 1.0}), tmp_path / "a")


def test_an_interrupted_write_leaves_no_files(tmp_path):
    def generate():
        yield from range(300)
        raise KeyError("cancelled")

    interrupted = tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.int32))
    with pytest.raises(tf.errors.OpError, match="cancelled"):
        mtl.data.cache_tfrecords(interrupted, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_json_file_is_written_again(tmp_path):
    mtl.data.cache_tfrecords(tf.data.Dataset.range(3), tmp_path / "a")
    (tmp_path / "a.json").unlink()
    assert list(mtl.data.cache_tfrecords(tf.data.Dataset.range(5), tmp_path / "a").as_numpy_iterator()) == [*range(5)]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="`dataset` must be finite.*`take`"):
        mtl.data.cache_tfrecords(tf.data.Dataset.range(3).repeat(), tmp_path / "a")
    with pytest.raises(TypeError, match="dense or ragged tensors.*SparseTensorSpec"):
        mtl.data.cache_tfrecords(tf.data.Dataset.from_tensors(tf.sparse.eye(2)), tmp_path / "a")
    wide = tf.data.Dataset.range(2).map(lambda n: tf.fill([n, n], "a"))
    with pytest.raises(TypeError, match="at most one axis of unknown size"):
        mtl.data.cache_tfrecords(wide, tmp_path / "a")
    with pytest.raises(TypeError, match="dense or ragged tensors.*DatasetSpec"):
        mtl.data.cache_tfrecords(tf.data.Dataset.range(4).window(2), tmp_path / "a")
