"""Sums over the replicas of a strategy, in the replica context."""

from typing import Any

import tensorflow as tf


def replica_sum(values: Any) -> Any:
    """Sum tensors over the replicas."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def share(total: tf.Tensor) -> tf.Tensor:
    """Return this replica's share of a value that is the same on all: the optimizer adds the shares up."""
    return total / tf.distribute.get_strategy().num_replicas_in_sync


def first_row(rows: tf.Tensor) -> tf.Tensor:
    """Return the number in the global batch of the first of this replica's rows, of which there are `rows`."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return tf.zeros_like(rows)
    context = tf.distribute.get_replica_context()
    counts = context.all_gather(rows[None], axis=0)
    return tf.reduce_sum(counts[: context.replica_id_in_sync_group])
