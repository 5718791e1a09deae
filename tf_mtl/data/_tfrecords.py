"""A data set cached in a file, for pipelines that are slow."""

import json
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._files import whole_file

_CHUNK = 256


def cache_tfrecords(dataset: tf.data.Dataset, path: str | Path) -> tf.data.Dataset:
    """Write the elements of a data set to a TFRecord file once, and read them from that file.

    A record holds 256 elements. The number of elements and their specs are in `<path>.json` beside the file, which is
    written last: unless both files are complete, the data set is read and written again. Delete them when the data
    change; only a change of the specs is detected.

    Args:
        dataset: A finite data set of dense or ragged tensors in dicts and tuples.
        path: The TFRecord file. Its folder is created if necessary.

    Returns:
        A data set of the same elements in the same order, with the same element spec and of known cardinality.

    Raises:
        TypeError: for elements that are not dense or ragged tensors, and for dense tensors with several unknown axes.
        ValueError: for an endless data set, and if `path` holds elements of another spec.

    Example:

    >>> import tempfile
    >>> slow = tf.data.Dataset.range(3).map(lambda n: {"words": tf.fill([n], "a"), "stars": n})
    >>> rows = mtl.data.cache_tfrecords(slow, tempfile.mkdtemp() + "/train.tfrecord")
    >>> [int(row["stars"]) for row in rows], rows.element_spec == slow.element_spec
    ([0, 1, 2], True)
    """
    path = Path(path)
    description_path = path.with_name(f"{path.name}.json")
    specs = _describe(dataset.element_spec)
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError(
            "`dataset` must be finite, received an endless one. Cache it before `repeat`, or `take` a part of it."
        )
    chunks = dataset.ragged_batch(_CHUNK)
    if not (path.exists() and description_path.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        element_count = _write(chunks, path)
        with whole_file(description_path) as file:
            file.write(json.dumps({"rows": element_count, "element_spec": specs}, indent=1).encode())
    description = json.loads(description_path.read_text())
    if description["element_spec"] != specs:
        raise ValueError(
            f"`path` {path} holds elements of {description['element_spec']}, but `dataset` gives {specs}. Delete the "
            f"file and {description_path.name} to write them again, or use another path."
        )
    return _read(path, chunks.element_spec, dataset.element_spec, description["rows"])


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


def _write(chunks: tf.data.Dataset, path: Path) -> int:
    """Write the chunks, one record each, and return the number of their elements."""

    def serialise(*chunk):
        first = tf.nest.flatten(chunk)[0]
        size = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]
        parts = tf.nest.flatten(chunk, expand_composites=True)
        return size, tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(part) for part in parts]))

    element_count = 0
    with whole_file(path) as file, tf.io.TFRecordWriter(file.name) as writer:
        for size, record in chunks.map(serialise).prefetch(2).as_numpy_iterator():
            writer.write(record)
            element_count += int(size)
    return element_count


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
