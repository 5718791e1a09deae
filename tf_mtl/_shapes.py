"""Ranks of labels, weights and losses."""

import tensorflow as tf


def match_rank(tensor: tf.Tensor, rank: int) -> tf.Tensor:
    """Return `tensor` with the rank `rank`: with axes of size 1 appended, or trailing axes of size 1 removed."""
    while len(tensor.shape) > rank and tensor.shape[-1] == 1:
        tensor = tf.squeeze(tensor, -1)
    while len(tensor.shape) < rank:
        tensor = tf.expand_dims(tensor, -1)
    return tensor
