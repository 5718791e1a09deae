"""The rows of all replicas."""

import tensorflow as tf


def gathered(tensor: tf.Tensor) -> tf.Tensor:
    """Return a tensor [B, ...] of this replica, joined with those of the others; in the replica context."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return tensor
    return tf.distribute.get_replica_context().all_gather(tensor, axis=0)
