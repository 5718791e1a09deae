"""Bringing labels, weights and losses to the same rank."""

import tensorflow as tf


def match_rank(tensor: tf.Tensor, rank: int) -> tf.Tensor:
    """Append axes to `tensor`, or drop a last axis of size 1, until it has `rank`."""
    while len(tensor.shape) > rank and tensor.shape[-1] == 1:
        tensor = tf.squeeze(tensor, -1)
    while len(tensor.shape) < rank:
        tensor = tf.expand_dims(tensor, -1)
    return tensor
