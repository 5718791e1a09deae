"""Functions of losses, of which those of tasks without labels in a batch are exactly 0."""

import tensorflow as tf


def labelled(losses: tf.Tensor) -> tf.Tensor:
    """Return 1 for each task that has labels, 0 for the others, [T]."""
    return tf.cast(tf.not_equal(losses, 0), losses.dtype)


def log(losses: tf.Tensor) -> tf.Tensor:
    """Return the logarithms of the losses, [T]; 0, without a gradient, for tasks without labels."""
    return tf.math.log(tf.where(tf.equal(losses, 0), tf.ones_like(losses), losses))


def softmax(logits: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Return the softmax over the tasks whose `mask` is 1; the others get 0, [T]."""
    present = mask > 0
    highest = tf.reduce_max(tf.where(present, logits, logits.dtype.min))
    exponentials = mask * tf.exp(tf.where(present, logits - highest, 0))
    return tf.math.divide_no_nan(exponentials, tf.reduce_sum(exponentials))
