"""Sums over the replicas of a strategy, in the replica context."""

import math
from typing import Any

import tensorflow as tf


def replica_sum(values: Any) -> Any:
    """Sum a structure of tensors over the replicas: all dense tensors of one dtype in a single call.

    `IndexedSlices` are concatenated, and None stays None.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    context, sums = tf.distribute.get_replica_context(), tf.nest.flatten(values)
    by_dtype: dict[tf.DType, list[int]] = {}
    for index, value in enumerate(sums):
        if isinstance(value, tf.IndexedSlices):
            rows, indices = (context.all_gather(part, axis=0) for part in (value.values, value.indices))
            sums[index] = tf.IndexedSlices(rows, indices, value.dense_shape)
        elif value is not None:
            by_dtype.setdefault(value.dtype, []).append(index)
    for indices in by_dtype.values():
        tensors = [sums[index] for index in indices]
        flat = tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0)
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
        parts = tf.split(total, [_size(tensor) for tensor in tensors])
        for index, tensor, part in zip(indices, tensors, parts, strict=True):
            sums[index] = tf.ensure_shape(tf.reshape(part, tf.shape(tensor)), tensor.shape)
    return tf.nest.pack_sequence_as(values, sums)


def per_replica_share(total: tf.Tensor) -> tf.Tensor:
    """Return this replica's share of a value that is the same on all replicas: the shares sum to the value."""
    return total / tf.distribute.get_strategy().num_replicas_in_sync


def _size(tensor):
    return math.prod(tensor.shape) if tensor.shape.is_fully_defined() else tf.size(tensor)
