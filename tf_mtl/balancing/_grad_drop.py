"""Gradient sign dropout."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Aggregator
from tf_mtl.balancing._random import WithSeed, uniform


@keras.saving.register_keras_serializable("tf_mtl")
class GradDrop(WithSeed, Aggregator):
    r"""GradDrop: where the tasks' gradients differ in sign, one sign is drawn and the entries of the other are dropped.

    For each entry, $P = \frac12 (1 + \sum_t g_t / \sum_t |g_t|)$ and $U \sim \mathrm{Uniform}(0, 1)$. The direction is
    the sum of the tasks' positive values if P > U, and of their negative values if P < U.

    Needs: the Jacobian.
    Cost: one backward pass per task.
    Reference: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
        NeurIPS 2020.

    Args:
        seed: Seed of the random numbers; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Raises:
        ValueError: if `seed` is not a non-negative integer.

    Example:

    >>> mtl.balancing.GradDrop()(np.array([[1.0, -1], [2, -1]])).numpy().tolist()
    [3.0, -2.0]
    """

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P]."""
        total, magnitude = tf.reduce_sum(jacobian, 0), tf.reduce_sum(tf.abs(jacobian), 0)
        probability = 0.5 * (1 + tf.math.divide_no_nan(total, magnitude))
        threshold = tf.cast(uniform(tf.shape(total)[0], self.seeds.next()), jacobian.dtype)
        positive = tf.where(probability > threshold, tf.nn.relu(jacobian), 0)
        negative = tf.where(probability < threshold, tf.nn.relu(-jacobian), 0)
        return tf.reduce_sum(positive - negative, 0)
