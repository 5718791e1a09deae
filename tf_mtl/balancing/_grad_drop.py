"""Gradient sign dropout."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Aggregator, SeedSequence, default_seed
from tf_mtl.balancing._random import uniform


@keras.saving.register_keras_serializable("tf_mtl")
class GradDrop(Aggregator):
    r"""GradDrop: where the tasks' gradients differ in sign, one sign is drawn and the other's parts are dropped.

    For each entry, $P = \frac12 (1 + \sum_t g_t / \sum_t |g_t|)$ and $U \sim \mathrm{Uniform}(0, 1)$: the positive
    parts are kept where P > U, the negative ones where P < U, and summed.

    Needs: the Jacobian.
    Cost: one backward pass per task.
    Reference: Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout",
        NeurIPS 2020.

    Args:
        seed: Seed of the draws; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Example:

    >>> mtl.balancing.GradDrop()(np.array([[1.0, -1], [2, -1]])).numpy().tolist()
    [3.0, -2.0]
    """

    def __init__(self, seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.seed = default_seed(seed)

    def build(self, input_shape):
        self.seeds = SeedSequence(self, self.seed)

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P]."""
        total, sizes = tf.reduce_sum(jacobian, 0), tf.reduce_sum(tf.abs(jacobian), 0)
        positive = 0.5 * (1 + tf.math.divide_no_nan(total, sizes))
        drawn = tf.cast(uniform(tf.shape(total)[0], self.seeds.next()), jacobian.dtype)
        return tf.reduce_sum(
            tf.where(positive > drawn, tf.nn.relu(jacobian), 0) - tf.where(positive < drawn, tf.nn.relu(-jacobian), 0),
            0,
        )

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
