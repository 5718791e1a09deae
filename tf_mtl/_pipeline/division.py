"""Divide the rows of a global batch among replicas, and each replica's rows among micro-batches."""

from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


class Rows(NamedTuple):
    """Some of the rows of a global batch.

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
        data: The global batch, the same on every replica: x, or (x, {task: y}) or (x, {task: y}, {task: weight}).
        pieces: The number of micro-batches.
    """
    parts = tf.distribute.get_strategy().num_replicas_in_sync * pieces
    if parts == 1:
        return [Rows(0, data)]
    x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    with tf.device("/device:CPU:0"):
        static = keras.tree.flatten(x)[0].shape[0]
        rows = count_rows(data)
        size = (rows + parts - 1) // parts
        divided = []
        for piece in range(pieces):
            first = (replica * pieces + piece) * size
            indices = first + tf.range(size)
            taken = [_take(tensors, tf.minimum(indices, rows - 1)) for tensors in (x, y, weight)]
            if y is None:
                divided.append(Rows(first, taken[0]))
                continue
            if static is None or static % parts:
                taken[2] = _without(taken[2], indices < rows, y)
            divided.append(Rows(first, tuple(taken)))
    return divided


def count_rows(data: Any) -> tf.Tensor:
    """Return the number of rows of a batch, a scalar."""
    leaf = keras.tree.flatten(keras.utils.unpack_x_y_sample_weight(data)[0])[0]
    return leaf.nrows(tf.int32) if isinstance(leaf, tf.RaggedTensor) else tf.shape(leaf)[0]


def _take(tensors, indices):
    return tf.nest.map_structure(lambda t: None if t is None else tf.gather(t, indices), tensors)


def _without(weight, kept, tasks):
    """Label weights that are 0 where rows are not `kept`."""
    kept, weight = tf.cast(kept, tf.float32), weight or {}
    return {
        task: kept
        if weight.get(task) is None
        else tf.cast(weight[task], tf.float32) * match_rank(kept, _rank(weight[task]))
        for task in tasks
    }


def _rank(tensor):
    return len(tensor.shape)
