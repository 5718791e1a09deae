"""Divide the rows of a global batch among replicas, and each replica's rows among micro-batches."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._pipeline.labels import weight_of
from tf_mtl._shapes import match_rank


class Rows(NamedTuple):
    """Some of the rows of a global batch: those of a micro-batch, or those that a worker has read.

    Attributes:
        first: Index of the first of them in the global batch.
        data: x, or (x, {task: y}) or (x, {task: y}, {task: weight}), as given.
    """

    first: tf.Tensor | int
    data: Any


def divide(data: Any, pieces: int = 1) -> list[Rows]:
    """Return this replica's rows of a global batch, as micro-batches of equal size; called in the replica context.

    Rows keep their order: the first replica gets the first rows. Where they do not divide evenly, copies of the last
    row with label weight 0 fill the gaps.

    Args:
        data: The global batch, the same on every replica: x, or (x, {task: y}) or (x, {task: y}, {task: weight}); or
            the `Rows` of it that this worker has read.
        pieces: The number of micro-batches.
    """
    strategy, start = tf.distribute.get_strategy(), 0
    replicas = strategy.num_replicas_in_sync
    if isinstance(data, Rows):
        start, data = data
        replicas = len(strategy.extended.worker_devices)
    parts = replicas * pieces
    if parts == 1:
        return [Rows(start, data)]
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group % replicas
    with tf.device("/device:CPU:0"):
        static = keras.tree.flatten(x)[0].shape[0]
        rows = count_rows(data)
        size = (rows + parts - 1) // parts
        divided = []
        for piece in range(pieces):
            first = (replica * pieces + piece) * size
            indices = first + tf.range(size)
            taken = [_take(tensors, indices, rows) for tensors in (x, y, weight)]
            if y is None:
                divided.append(Rows(start + first, keras.utils.pack_x_y_sample_weight(taken[0])))
                continue
            if static is None or static % parts:
                taken[2] = _without(taken[2], indices < rows, y)
            divided.append(Rows(start + first, tuple(taken)))
    return divided


def count_rows(data: Any) -> tf.Tensor:
    """Return the number of rows of a batch, a scalar."""
    leaf = keras.tree.flatten(keras.utils.unpack_x_y_sample_weight(data)[0])[0]
    if isinstance(leaf, tf.SparseTensor):
        return tf.cast(leaf.dense_shape[0], tf.int32)
    return leaf.nrows(tf.int32) if isinstance(leaf, tf.RaggedTensor) else tf.shape(leaf)[0]


def _take(tensors, indices, rows):
    """The rows of some indices; those after the last row are copies of it, or empty where tensors are sparse."""

    def take(tensor):
        if isinstance(tensor, tf.SparseTensor):
            return _sparse_rows(tensor, tf.cast(indices[0], tf.int64), tf.size(indices, tf.int64))
        return None if tensor is None else tf.gather(tensor, tf.minimum(indices, rows - 1))

    return tf.nest.map_structure(take, tensors)


def _sparse_rows(tensor, first, count):
    start = tf.concat([first[None], tf.zeros_like(tensor.dense_shape[1:])], 0)
    shape = tf.concat([count[None], tensor.dense_shape[1:]], 0)
    return tf.sparse.reset_shape(tf.sparse.slice(tensor, start, shape), shape)


def _without(weight, kept, tasks):
    """Label weights that are 0 where rows are not `kept`."""
    kept, result = tf.cast(kept, tf.float32), {}
    for task in tasks:
        w = weight_of(task, weight)
        result[task] = kept if w is None else tf.cast(w, tf.float32) * match_rank(kept, len(w.shape))
    return result
