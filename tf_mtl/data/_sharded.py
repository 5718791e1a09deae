"""Global batches that each worker of a cluster reads in part, from its own files or elements."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl._shapes import match_rank
from tf_mtl.data._sources import common_label_specs


class ShardedBatches(tf.data.Dataset):
    """What `tf_mtl.data.sharded` returns: a `tf.data.Dataset` of global batches, joined from one piece per shard.

    `fit` and `evaluate` of `tf_mtl.MultiTaskModel` let each worker of a cluster read the pieces of its own shards only.
    Everything else reads whole batches. So do `fit` and `evaluate` after a transformation such as `map`, `take` or
    `prefetch`, which returns an ordinary data set.

    Attributes:
        shards: The number of shards.
        batch_size: The number of rows of a global batch.

    Example:

    >>> rows = tf.data.Dataset.range(8).map(lambda n: (n, {"a": n}))
    >>> batches = mtl.data.sharded(lambda index: rows.shard(2, index), shards=2, batch_size=4)
    >>> [x.numpy().tolist() for x, y in batches.of_worker(1, workers=2)]
    [[1, 3], [5, 7]]
    """

    def __init__(self, pieces: Sequence[tf.data.Dataset], batch_size: int, length: int | None = None):
        self.shards, self.batch_size = len(pieces), batch_size
        self._pieces, self._length = pieces, length
        self._dataset = self._joined(pieces)
        super().__init__(self._dataset._variant_tensor)

    @property
    def element_spec(self) -> Any:
        """The structure of an element."""
        return self._dataset.element_spec

    def of_worker(self, index: int, workers: int) -> tf.data.Dataset:
        """Return the part of each global batch that one of several workers reads: consecutive rows of equal number.

        Args:
            index: The index of the worker.
            workers: The number of workers.

        Raises:
            ValueError: if the shards do not divide evenly among the workers, or `index` is not below `workers`.
        """
        index, workers = integer("index", index, 0), integer("workers", workers, 1)
        if index >= workers:
            raise ValueError(f"`index` must be below `workers`, received index={index} and workers={workers}.")
        if self.shards % workers:
            raise ValueError(
                f"`shards` must be divisible by the number of workers, received shards={self.shards} for {workers} "
                "workers. Pass a multiple of it to `tf_mtl.data.sharded`, or start another number of workers."
            )
        count = self.shards // workers
        return self._joined(self._pieces[index * count : (index + 1) * count])

    def _joined(self, pieces):
        """The pieces of several shards, joined to (parts of) batches; shards are read in parallel."""
        batches = tf.data.Dataset.zip(tuple(piece.prefetch(1) for piece in pieces))
        if self._length is None:
            return batches.map(_join)
        size, spec = self.batch_size // self.shards, pieces[0].element_spec
        no_rows = tf.nest.map_structure(lambda s: tf.zeros([len(pieces), *s.shape[1:]], s.dtype), spec)
        filled = batches.scan(no_rows, lambda last_rows, batch: _fill(last_rows, batch, size))
        return filled.apply(tf.data.experimental.assert_cardinality(self._length))

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._dataset]


def sharded(shard: Callable[[int], tf.data.Dataset], shards: int, batch_size: int) -> ShardedBatches:
    """Divide the reading of global batches among the workers of a cluster.

    A global batch consists of one piece per shard, in order: the next `batch_size / shards` rows of each. Its contents
    depend on the shards alone, not on the number of workers, so runs on different numbers of workers give the same
    weights. Each worker reads the pieces of `shards / workers` shards.

    A pass through the data is as long as its longest shard. From the end of a shorter one to the end of the pass, its
    last row is repeated with label weight 0 for all tasks, so each row counts once and all batches have `batch_size`
    rows. Repeated rows cost computation: keep the shards of nearly equal size.

    Args:
        shard: A function from an index in range(shards) to a data set of unbatched rows (x, {task: y}) or (x, {task:
            y}, {task: weight}) of fixed shapes, for example of some files or `rows.shard(shards, index)`. Every worker
            calls it for all indices, but reads its own shards only. Either all shards are endless, or the number of
            rows of each must be known.
        shards: The number of shards, divisible by the number of workers.
        batch_size: The number of rows of a global batch, divisible by `shards`.

    Returns:
        A data set of batches (x, {task: y}), or (x, {task: y}, {task: weight}) if rows have weights or some are
        repeated.

    Raises:
        TypeError: if a shard does not consist of rows with a dict of labels.
        ValueError: for sizes that do not divide evenly, and shards that are empty, of unknown size, of rows without a
            fixed shape, or that differ in structure.

    Example:

    >>> rows = tf.data.Dataset.range(7).map(lambda n: (n, {"a": n}))
    >>> batches = mtl.data.sharded(lambda index: rows.shard(2, index), shards=2, batch_size=4)
    >>> for x, y, weight in batches:
    ...     print(x.numpy(), weight["a"].numpy())
    [0 2 1 3] [1. 1. 1. 1.]
    [4 6 5 5] [1. 1. 1. 0.]
    """
    shards, batch_size = integer("shards", shards, 1), integer("batch_size", batch_size, 1)
    if batch_size % shards:
        raise ValueError(
            f"`batch_size` must be divisible by `shards`, received batch_size={batch_size} and shards={shards}. "
            f"Use a multiple of {shards}, for example {-(-batch_size // shards) * shards}."
        )
    parts = [shard(index) for index in range(shards)]
    sizes = _sizes(parts)
    _check_rows(parts)
    size = batch_size // shards
    if sizes[0] == tf.data.INFINITE_CARDINALITY or (set(sizes) == {sizes[0]} and sizes[0] % size == 0):
        return ShardedBatches([rows.batch(size, drop_remainder=True) for rows in parts], batch_size)
    length = -(-max(sizes) // size)
    return ShardedBatches([_with_empty_pieces(rows, size, length) for rows in parts], batch_size, length)


def _with_empty_pieces(rows, size, length):
    """`length` pieces of at most `size` rows."""
    pieces = rows.batch(size)
    empty = tf.nest.map_structure(lambda s: tf.zeros([0, *s.shape], s.dtype), rows.element_spec)
    return pieces.concatenate(tf.data.Dataset.from_tensors(empty).repeat(length - len(pieces)))


def _join(*pieces):
    return tf.nest.map_structure(lambda *tensors: tf.concat(tensors, 0), *pieces)


def _fill(last_rows, pieces, size):
    """Join pieces, each filled to `size` rows with copies of the last row that its shard has given, of label weight 0.

    Args:
        last_rows: The last row of each shard in earlier batches.
        pieces: The next rows of each shard.
        size: The number of rows that a piece should have.

    Returns:
        The last rows for the next batch, and (x, y, weight).
    """
    numbers = tf.stack([tf.shape(tf.nest.flatten(piece)[0])[0] for piece in pieces])
    rows = _join(*pieces)

    def with_copies():
        first = len(pieces) + tf.cumsum(numbers, exclusive=True)
        last = tf.where(numbers > 0, first + numbers - 1, tf.range(len(pieces)))
        indices = tf.reshape(tf.minimum(first[:, None] + tf.range(size), last[:, None]), [-1])
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, indices), _join(last_rows, rows))

    filled = tf.cond(tf.reduce_all(numbers == size), lambda: rows, with_copies)
    filled = tf.nest.map_structure(lambda t: tf.ensure_shape(t, [len(pieces) * size, *t.shape[1:]]), filled)
    x, y, weight = keras.utils.unpack_x_y_sample_weight(filled)
    present = tf.cast(tf.reshape(tf.range(size) < numbers[:, None], [-1]), tf.float32)
    weight = {task: _product(present, (weight or {}).get(task)) for task in y}
    return tf.nest.map_structure(lambda t: t[size - 1 :: size], filled), (x, y, weight)


def _product(present, weight):
    return present if weight is None else tf.cast(weight, tf.float32) * match_rank(present, len(weight.shape))


def _sizes(parts):
    """The numbers of rows of the shards."""
    for index, rows in enumerate(parts):
        if not isinstance(rows, tf.data.Dataset):
            raise TypeError(
                f"`shard` must return a tf.data.Dataset of rows, received {type(rows).__name__} for {index}."
            )
    sizes = [int(rows.cardinality()) for rows in parts]
    if tf.data.UNKNOWN_CARDINALITY in sizes:
        raise ValueError(
            "`shard` must return data sets of known size, since all workers must take equally many steps, received one "
            f"of unknown size for {sizes.index(tf.data.UNKNOWN_CARDINALITY)}. Apply "
            "tf.data.experimental.assert_cardinality(rows)."
        )
    endless = [size == tf.data.INFINITE_CARDINALITY for size in sizes]
    if any(endless) and not all(endless):
        raise ValueError(
            f"`shard` must return endless data sets for all indices or for none, received an endless one for "
            f"{endless.index(True)} and one of {sizes[endless.index(False)]} rows for {endless.index(False)}. Apply "
            "`repeat` to all of them, or to none."
        )
    return sizes


def _check_rows(parts):
    """Raise unless all shards have rows of one structure and of fixed shapes."""
    first = parts[0].element_spec
    for index, rows in enumerate(parts):
        common_label_specs({f"shard({index})": rows})
        if rows.element_spec != first:
            raise ValueError(
                f"`shard` must return rows of one structure for all indices, received {first} for 0 and "
                f"{rows.element_spec} for {index}. Cast, reshape or rename them alike."
            )
    for path, spec in keras.tree.flatten_with_path(first):
        if not spec.shape.is_fully_defined():
            raise ValueError(
                "`shard` must return rows of fixed shapes, so that pieces can be joined, received "
                f"{spec} at {'/'.join(map(str, path))}. Pad rows to one length in a `map`, or set the shape with "
                "tf.ensure_shape."
            )
