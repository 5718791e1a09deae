"""Weights on the simplex: not negative, with the sum 1."""

from collections.abc import Callable

import tensorflow as tf


def project_on_simplex(point: tf.Tensor) -> tf.Tensor:
    """Return the nearest point [T] with entries >= 0 that sum to 1 (Duchi et al. 2008)."""
    point -= tf.reduce_max(point)
    sorted_point = tf.sort(point, direction="DESCENDING")
    shifts = (tf.cumsum(sorted_point) - 1) / tf.range(1, tf.shape(point)[0] + 1, dtype=point.dtype)
    return tf.nn.relu(point - tf.reduce_max(shifts))


def move_on_simplex(
    weights: tf.Tensor, present: tf.Tensor, step: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Move the weights of the present tasks on their simplex; the weights of the other tasks do not change.

    Args:
        weights: The weights of all tasks, which sum to 1, [T].
        present: Which tasks have a gradient, [T], bool.
        step: Maps the weights [T], in which those of absent tasks are 0, to new ones, which are then projected.

    Returns:
        The weights for this step, of which those of the present tasks sum to 1, and the weights to keep, of which all
        sum to 1.
    """
    mask = tf.cast(present, weights.dtype)
    absent_weight = tf.reduce_sum((1 - mask) * weights)
    point = mask * (weights + tf.math.divide_no_nan(absent_weight, tf.reduce_sum(mask)))
    point = project_on_simplex(tf.where(present, step(point), -1e30))
    point = tf.where(tf.reduce_any(present), point, weights)
    return tf.where(present, point, weights), tf.where(present, (1 - absent_weight) * point, weights)
