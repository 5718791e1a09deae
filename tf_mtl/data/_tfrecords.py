"""A data set kept in a file, for pipelines that are slow to run again."""

import json
from pathlib import Path

import keras
import tensorflow as tf

from tf_mtl._files import whole_file

_CHUNK = 256


def cache_tfrecords(dataset: tf.data.Dataset, path: str | Path) -> tf.data.Dataset:
    """Write the elements of a data set to a TFRecord file once, and read them from it.

    A record holds 256 elements. The number of elements and their specs stand beside it in `<path>.json`, which is
    written last: both files are there whole, or the data set is read and written anew. Delete them when the data
    change; a change of the specs alone is noticed.

    Args:
        dataset: A data set that ends, of dense or ragged tensors in dicts and tuples.
        path: The TFRecord file. Its folder is made if need be.

    Returns:
        A data set of the same elements in the same order, with the same element spec and of known cardinality.

    Raises:
        TypeError: for elements that are not dense or ragged tensors, or dense ones with several unknown axes.
        ValueError: for a data set without end, and if `path` holds elements of another spec.

    Example:

    >>> import tempfile
    >>> slow = tf.data.Dataset.range(3).map(lambda n: {"words": tf.fill([n], "a"), "stars": n})
    >>> rows = mtl.data.cache_tfrecords(slow, tempfile.mkdtemp() + "/train.tfrecord")
    >>> [int(row["stars"]) for row in rows], rows.element_spec == slow.element_spec
    ([0, 1, 2], True)
    """
    path = Path(path)
    description = path.with_name(f"{path.name}.json")
    specs = _describe(dataset.element_spec)
    if int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`dataset` must end, received one that does not. Cache it before `repeat`, or `take` a part.")
    chunks = dataset.ragged_batch(_CHUNK)
    if not (path.exists() and description.exists()):
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = _write(chunks, path)
        with whole_file(description) as file:
            file.write(json.dumps({"rows": rows, "element_spec": specs}, indent=1).encode())
    found = json.loads(description.read_text())
    if found["element_spec"] != specs:
        raise ValueError(
            f"`path` {path} holds elements of {found['element_spec']}, but `dataset` gives {specs}. Delete the file "
            f"and {description.name} to write them anew, or give another path."
        )
    return _read(path, chunks.element_spec, dataset.element_spec, found["rows"])


def _describe(element_spec):
    """Return {place of a tensor in an element: its spec} in words."""
    found = {}
    for place, spec in keras.tree.flatten_with_path(element_spec):
        dense = isinstance(spec, tf.TensorSpec) and spec.dtype not in (tf.variant, tf.resource)
        if not dense and not isinstance(spec, tf.RaggedTensorSpec):
            raise TypeError(f"`dataset` must give dense or ragged tensors in dicts and tuples, received {spec}.")
        if dense and list(spec.shape).count(None) > 1:
            raise TypeError(
                f"`dataset` must give dense tensors with at most one axis of unknown size, received {spec}."
            )
        found["/".join(map(str, place))] = f"{spec.dtype.name} {spec.shape}" + ("" if dense else " ragged")
    return found


def _write(chunks, path):
    """Write the chunks, a record each, and return how many elements they hold."""

    def serialise(*chunk):
        first = tf.nest.flatten(chunk)[0]
        size = first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]
        parts = tf.nest.flatten(chunk, expand_composites=True)
        return size, tf.io.serialize_tensor(tf.stack([tf.io.serialize_tensor(part) for part in parts]))

    rows = 0
    with whole_file(path) as file, tf.io.TFRecordWriter(file.name) as writer:
        for size, record in chunks.map(serialise).prefetch(2).as_numpy_iterator():
            writer.write(record)
            rows += int(size)
    return rows


def _read(path, chunk_spec, element_spec, rows):
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
            tf.convert_to_tensor(x) if isinstance(s, tf.TensorSpec) else x
            for x, s in zip(tf.nest.flatten(element), tf.nest.flatten(element_spec), strict=True)
        ]
        return tf.nest.pack_sequence_as(element_spec, tensors)

    dataset = tf.data.TFRecordDataset(str(path)).map(parse).unbatch().map(restore)
    return dataset.apply(tf.data.experimental.assert_cardinality(rows))
