"""Losses of tasks of which some have no label in a batch: their loss is exactly 0."""

import tensorflow as tf


def labelled(losses: tf.Tensor) -> tf.Tensor:
    """Return 1 for every task that has a loss, 0 for the others, [T]."""
    return tf.cast(tf.not_equal(losses, 0), losses.dtype)


def log(losses: tf.Tensor) -> tf.Tensor:
    """Return the logarithms of the losses, [T]; 0, without a gradient, where there is none."""
    return tf.math.log(tf.where(tf.equal(losses, 0), tf.ones_like(losses), losses))


def softmax(logits: tf.Tensor, among: tf.Tensor) -> tf.Tensor:
    """Return the softmax over the tasks where `among` is 1; the others get 0."""
    present = among > 0
    highest = tf.reduce_max(tf.where(present, logits, logits.dtype.min))
    exponentials = among * tf.exp(tf.where(present, logits - highest, 0))
    return tf.math.divide_no_nan(exponentials, tf.reduce_sum(exponentials))
