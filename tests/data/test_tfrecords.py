import json
import os
import time

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


def generated(*, count=600, cardinality=None, fails_at=None):
    """Return a data set of `count` numbers, with a declared cardinality, that fails at an element."""

    def generate():
        for number in range(count):
            if number == fails_at:
                raise KeyError("no such row")
            yield number

    dataset = tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.int64))
    return dataset if cardinality is None else dataset.apply(tf.data.experimental.assert_cardinality(cardinality))


@pytest.mark.parametrize("fails_at", [0, 255, 256, 300])
def test_an_error_of_the_data_set_names_the_element(tmp_path, fails_at):
    with pytest.raises(
        tf.errors.UnknownError, match=f"failed at element {fails_at}, .*Nothing was cached.*no such row"
    ):
        mtl.data.cache_tfrecords(generated(fails_at=fails_at), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_in_the_scope_of_a_strategy(tmp_path):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        assert len(list(mtl.data.cache_tfrecords(generated(), tmp_path / "a"))) == 600
        with pytest.raises(tf.errors.UnknownError, match="failed at element 300, "):
            mtl.data.cache_tfrecords(generated(fails_at=300), tmp_path / "b")


def test_an_error_in_a_parallel_map_names_the_element(tmp_path, monkeypatch):
    write = tf.io.TFRecordWriter.write
    # so that the pipeline reads on after the error before it reaches the writer
    monkeypatch.setattr(tf.io.TFRecordWriter, "write", lambda *args: time.sleep(0.3) or write(*args))
    parallel = tf.data.Dataset.range(2000).map(lambda n: 60 // (n - 700), num_parallel_calls=4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="failed at element 700, "):
        mtl.data.cache_tfrecords(parallel, tmp_path / "a")


@pytest.mark.parametrize("cardinality", [599, 601])
def test_a_wrong_cardinality_is_named(tmp_path, monkeypatch, cardinality):
    with pytest.raises(tf.errors.FailedPreconditionError, match=f"`dataset` failed.* {cardinality} elements"):
        mtl.data.cache_tfrecords(generated(cardinality=cardinality), tmp_path / "a")
    unchecked = generated()
    monkeypatch.setattr(unchecked, "cardinality", lambda: tf.constant(cardinality, tf.int64))
    with pytest.raises(ValueError, match=f"its cardinality, {cardinality}, but gave 600.*Nothing was cached"):
        mtl.data.cache_tfrecords(unchecked, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_cache_survives_an_error(tmp_path):
    mtl.data.cache_tfrecords(generated(), tmp_path / "a")
    (tmp_path / "a.json").write_text("{")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(tf.errors.UnknownError):
        mtl.data.cache_tfrecords(generated(fails_at=3), tmp_path / "a")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def flipped(content, position):
    return content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :]


def with_entry(key, value):
    return lambda content: json.dumps(json.loads(content) | {key: value}).encode()


DAMAGE = {
    "cut": ("a", lambda content: content[: len(content) // 3]),
    "cut at a record": ("a", lambda content: content[: len(content) // 2]),
    "empty": ("a", lambda content: b""),
    "longer": ("a", lambda content: content + content),
    "a hole": ("a", lambda content: bytes(100) + content[100:]),
    "a flipped bit": ("a", lambda content: flipped(content, 2000)),
    "no JSON": ("a.json", lambda content: content[:-20]),
    "empty JSON": ("a.json", lambda content: b""),
    "not UTF-8": ("a.json", lambda content: b"\xff\xfe"),
    "a list": ("a.json", lambda content: b"[1]"),
    "no number": ("a.json", lambda content: b'{"element_spec": {}}'),
    "a wrong number": ("a.json", with_entry("rows", 511)),
    "a number that is text": ("a.json", with_entry("rows", "512")),
    "another spec": ("a.json", with_entry("element_spec", {"": "float32 ()"})),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_written_again(tmp_path, name):
    dataset = tf.data.Dataset.range(512)
    mtl.data.cache_tfrecords(dataset, tmp_path / "a")
    file, damage = DAMAGE[name]
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    with pytest.warns(UserWarning, match="a and a.json are damaged.*cached again") as warned:
        cached = mtl.data.cache_tfrecords(dataset, tmp_path / "a")
    assert len(warned) == 1
    assert list(cached.as_numpy_iterator()) == list(range(512))


def as_of_version_0_1(path):
    """Remove what version 0.1 did not write."""
    description = json.loads(path.read_text())
    del description["checksum"]
    path.write_text(json.dumps(description))


def test_files_of_version_0_1_are_read(tmp_path):
    mtl.data.cache_tfrecords(generated(), tmp_path / "a")
    as_of_version_0_1(tmp_path / "a.json")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert list(mtl.data.cache_tfrecords(generated(fails_at=0), tmp_path / "a").as_numpy_iterator()) == [*range(600)]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["cut", "cut at a record", "empty", "longer", "a hole", "a flipped bit"])
def test_damaged_files_of_version_0_1_are_written_again(tmp_path, name):
    mtl.data.cache_tfrecords(generated(count=512), tmp_path / "a")
    as_of_version_0_1(tmp_path / "a.json")
    (tmp_path / "a").write_bytes(DAMAGE[name][1]((tmp_path / "a").read_bytes()))
    with pytest.warns(UserWarning, match="damaged"):
        cached = mtl.data.cache_tfrecords(generated(count=512), tmp_path / "a")
    assert list(cached.as_numpy_iterator()) == list(range(512))


def test_files_of_different_writers_are_not_taken_for_a_cache(tmp_path):
    for name, numbers in (("a", range(3)), ("b", range(3, 6))):
        mtl.data.cache_tfrecords(tf.data.Dataset.from_tensor_slices([*numbers]), tmp_path / name)
    (tmp_path / "b.json").rename(tmp_path / "a.json")
    with pytest.warns(UserWarning, match="do not belong together"):
        cached = mtl.data.cache_tfrecords(tf.data.Dataset.from_tensor_slices([7, 8]), tmp_path / "a")
    assert list(cached.as_numpy_iterator()) == [7, 8]


def test_the_first_complete_cache_is_used_by_all(tmp_path):
    def cache_elsewhere_meanwhile():
        yield from range(300)
        mtl.data.cache_tfrecords(tf.data.Dataset.range(5), tmp_path / "a")
        yield from range(300)

    slow = tf.data.Dataset.from_generator(cache_elsewhere_meanwhile, output_signature=tf.TensorSpec([], tf.int64))
    cached = mtl.data.cache_tfrecords(slow, tmp_path / "a")
    assert (int(cached.cardinality()), list(cached.as_numpy_iterator())) == (5, [*range(5)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.json"]


def test_leftovers_of_killed_writers_are_removed_when_they_are_old(tmp_path):
    old, fresh = (tmp_path / f".writing-host-7-{digit * 32}" for digit in "ab")
    old.touch()
    fresh.touch()
    os.utime(old, (1e9, 1e9))
    mtl.data.cache_tfrecords(tf.data.Dataset.range(3), tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == [fresh.name, "a", "a.json"]
    os.utime(fresh, (1e9, 1e9))
    mtl.data.cache_tfrecords(tf.data.Dataset.range(3), tmp_path / "a")  # only reads
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.json"]


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`path` must be a file, but .* is a folder"):
        mtl.data.cache_tfrecords(tf.data.Dataset.range(3), tmp_path)
