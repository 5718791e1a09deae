"""The rows of all replicas, and where metrics keep them."""

import tensorflow as tf


def gathered(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor [B, ...] of this replica, joined with those of the others; in the replica context."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return tensor
    return tf.distribute.get_replica_context().all_gather(tensor, axis=0)


def on_first_replica(counted: tf.Tensor) -> tf.Tensor:
    """Return a mask of gathered rows on the first replica, and all False on others, since their states are summed."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return counted
    return counted & (tf.distribute.get_replica_context().replica_id_in_sync_group == 0)


def free_slots(counted: tf.Tensor, stored: tf.Tensor, limit: int) -> tf.Tensor:
    """Return the slot after those in use for each row that counts; -1 for other rows, and where there is none left.

    Args:
        counted: Which rows count, [B].
        stored: The number of slots in use.
        limit: The number of slots.
    """
    slots = stored + tf.cumsum(tf.cast(counted, tf.int32)) - 1
    return tf.where(counted & (slots < limit), slots, -1)
