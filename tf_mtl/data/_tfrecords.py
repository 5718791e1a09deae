"""A data set cached in a file, for pipelines that are slow."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
import tensorflow as tf

from tf_mtl._files import publish, remove_leftovers, unfinished_file

_CHUNK = 256
_COUNT, _SPECS, _CHECKSUM = "rows", "element_spec", "checksum"
_KEY = np.int64(0)  # of the only entry of a counter


def cache_tfrecords(dataset: tf.data.Dataset, path: str | Path) -> tf.data.Dataset:
    """Write the elements of a data set to a TFRecord file once, and read them from that file.

    A record holds 256 elements. The number of elements, their specs and a checksum are in `<path>.json` beside the
    file. Each call reads the whole file to compare the checksum. Unless both files are complete and belong together,
    the data set is read and written again, with a warning if they are damaged. Delete them when the data change; only
    a change of the specs is detected.

    Several processes may cache to the same path: each writes a file of its own, and all use the first that is complete.

    Args:
        dataset: A finite data set of dense or ragged tensors in dicts and tuples.
        path: The TFRecord file. Its folder is created if necessary.

    Returns:
        A data set of the same elements in the same order, with the same element spec and of known cardinality.

    Raises:
        TypeError: for elements that are not dense or ragged tensors, and for dense tensors with several unknown axes.
        ValueError: for an endless data set, one that gives another number of elements than its cardinality, if `path`
            is a folder, and if it holds elements of another spec.
        tf.errors.OpError: if the data set raises an error; the message names the element.

    Example:

    >>> import tempfile
    >>> slow = tf.data.Dataset.range(3).map(lambda n: {"words": tf.fill([n], "a"), "stars": n})
    >>> rows = mtl.data.cache_tfrecords(slow, tempfile.mkdtemp() + "/train.tfrecord")
    >>> [int(row["stars"]) for row in rows], rows.element_spec == slow.element_spec
    ([0, 1, 2], True)
    """
    path = Path(path)
    specs = _describe(dataset.element_spec)
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`dataset` must be finite, received an endless one. Cache it before `repeat`, or `take` a part of it."
        )
    if path.is_dir():
        raise ValueError(f"`path` must be a file, but {path} is a folder.")
    remove_leftovers(path.parent)
    element_count = _complete_cache(path, specs)
    if element_count is None:
        if path.exists() and _description_path(path).exists():
            warnings.warn(
                f"{path} and {_description_path(path).name} are damaged, or do not belong together. The data set is "
                "cached again.",
                stacklevel=2,
            )
        _write_cache(dataset, path, specs)
        element_count = _complete_cache(path, specs)
    if element_count is None:
        raise OSError(
            f"{path} was damaged while it was written. Delete it and {_description_path(path).name}, and retry."
        )
    return _read(path, _in_chunks(dataset).element_spec, dataset.element_spec, element_count)


def _description_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _describe(element_spec: Any) -> dict[str, str]:
    """Return {path of a tensor within an element: its spec as text}."""
    specs = {}
    for path, spec in keras.tree.flatten_with_path(element_spec):
        dense = isinstance(spec, tf.TensorSpec) and spec.dtype not in (tf.variant, tf.resource)
        if not dense and not isinstance(spec, tf.RaggedTensorSpec):
            raise TypeError(f"`dataset` must give dense or ragged tensors in dicts and tuples, received {spec}.")
        if dense and list(spec.shape).count(None) > 1:
            raise TypeError(
                f"`dataset` must give dense tensors with at most one axis of unknown size, received {spec}."
            )
        specs["/".join(map(str, path))] = f"{spec.dtype.name} {spec.shape}" + ("" if dense else " ragged")
    return specs


def _complete_cache(path: Path, specs: dict[str, str]) -> int | None:
    """Return the number of elements in a file, or None if it is damaged, or it or its description does not exist."""
    description_path = _description_path(path)
    if not (path.exists() and description_path.exists()):
        return None
    try:
        description = json.loads(description_path.read_bytes())
        element_count, specs_of_file = description[_COUNT], description[_SPECS]
        if _CHECKSUM in description:
            is_complete = description[_CHECKSUM] == _checksum(path, element_count, specs_of_file)
        else:  # written by version 0.1
            records = tf.data.TFRecordDataset(str(path)).reduce(0, lambda count, _: count + 1)
            is_complete = int(records) == -(-element_count // _CHUNK)
    except (ValueError, TypeError, KeyError, tf.errors.DataLossError):
        is_complete = False
    if not is_complete:
        return None
    if specs_of_file != specs:
        raise ValueError(
            f"`path` {path} holds elements of {specs_of_file}, but `dataset` gives {specs}. Delete the file and "
            f"{description_path.name} to write them again, or use another path."
        )
    return element_count


def _checksum(path: Path, element_count: int, specs: dict[str, str]) -> str:
    """Return a checksum of a file and of what its description says about it."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps([element_count, specs], sort_keys=True).encode())
    return digest.hexdigest()


def _write_cache(dataset: tf.data.Dataset, path: Path, specs: dict[str, str]) -> None:
    """Cache a data set, unless another process has finished the same meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished_file(path.parent) as file, unfinished_file(path.parent) as description_file:
        element_count = _write_records(dataset, file)
        checksum = _checksum(Path(file.name), element_count, specs)
        description = {_COUNT: element_count, _SPECS: specs, _CHECKSUM: checksum}
        description_file.write(json.dumps(description, indent=1).encode())
        if _complete_cache(path, specs) is None:
            publish(file, path)
            publish(description_file, _description_path(path))


def _write_records(dataset: tf.data.Dataset, file: BinaryIO) -> int:
    """Write the elements in chunks, one record each, and return the number of elements."""
    element_count, cardinality = 0, int(dataset.cardinality())
    with tf.io.TFRecordWriter(file.name) as writer:
        for size, record in _records(dataset):
            writer.write(record)
            element_count += int(size)
    if cardinality not in (element_count, tf.data.UNKNOWN_CARDINALITY):
        raise ValueError(
            f"`dataset` must give as many elements as its cardinality, {cardinality}, but gave {element_count}. "
            "Nothing was cached. Fix its source or its `assert_cardinality`."
        )
    return element_count


def _records(dataset: tf.data.Dataset) -> Iterator[tuple[np.ndarray, bytes]]:
    """Yield chunks of the elements: their number, and the serialised chunk."""

    def serialise(*chunk):
        first = tf.nest.flatten(chunk)[0]
        size = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]
        parts = tf.nest.flatten(chunk, expand_composites=True)
        return size, tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(part) for part in parts]))

    # a variable would be on the GPU, and one per replica in the scope of a strategy
    counter = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, default_value=0)
    try:
        yield from _in_chunks(_counted(dataset, counter)).map(serialise).prefetch(2).as_numpy_iterator()
    except tf.errors.OpError as error:
        index = int(counter.lookup(_KEY))
        message = f"`dataset` failed at element {index}, counted from 0. Nothing was cached. {error.message}"
        raise type(error)(error.node_def, error.op, message) from error


def _counted(dataset: tf.data.Dataset, counter: tf.lookup.experimental.MutableHashTable) -> tf.data.Dataset:
    """Return the same elements, counted up to the first error: readers ahead of the writer continue after it."""

    def count(index, element):
        count_before = counter.lookup(_KEY)
        with tf.control_dependencies([counter.insert(_KEY, count_before + tf.cast(index == count_before, tf.int64))]):
            return tf.nest.map_structure(tf.identity, element, expand_composites=True)

    return dataset.enumerate().map(count)


def _in_chunks(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.ragged_batch(_CHUNK)


def _read(path: Path, chunk_spec: Any, element_spec: Any, element_count: int) -> tf.data.Dataset:
    def parse(record):
        specs = tf.nest.flatten(chunk_spec, expand_composites=True)
        parts = tf.ensure_shape(tf.io.parse_tensor(record, tf.string), [len(specs)])
        tensors = [
            tf.ensure_shape(tf.io.parse_tensor(part, spec.dtype), spec.shape)
            for part, spec in zip(tf.unstack(parts), specs, strict=True)
        ]
        return tf.nest.pack_sequence_as(chunk_spec, tensors, expand_composites=True)

    def restore(*element):
        element = element if isinstance(element_spec, tuple) else element[0]
        tensors = [
            tf.convert_to_tensor(tensor) if isinstance(spec, tf.TensorSpec) else tensor
            for tensor, spec in zip(tf.nest.flatten(element), tf.nest.flatten(element_spec), strict=True)
        ]
        return tf.nest.pack_sequence_as(element_spec, tensors)

    dataset = tf.data.TFRecordDataset(str(path)).map(parse).unbatch().map(restore)
    return dataset.apply(tf.data.experimental.assert_cardinality(element_count))
