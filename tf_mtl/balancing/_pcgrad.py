"""Projecting conflicting gradients."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._random import WithSeed, uniform


@keras.saving.register_keras_serializable("tf_mtl")
class PCGrad(WithSeed, Weighting):
    r"""PCGrad: the sum of the gradients, each projected onto the normal plane of every gradient that it conflicts with.

    For each i, and each $j \ne i$ in random order: if $g_i' \cdot g_j < 0$,
    $g_i' \leftarrow g_i' - (g_i' \cdot g_j / \lVert g_j \rVert^2) g_j$. This is computed on the Gramian, for all i in
    parallel.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.

    Args:
        seed: Seed of the random orders; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Raises:
        ValueError: if `seed` is not a non-negative integer.

    Example:

    >>> mtl.balancing.PCGrad()(np.array([[1.0, -0.5], [-0.5, 1.0]])).numpy().tolist()
    [1.5, 1.5]
    """

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        return weights_of_projections(gramian, orders_of_others(gramian.shape[0], self.seeds.next()))


def orders_of_others(size: int, seed: tf.Tensor) -> tf.Tensor:
    """Return for each task a random order of the others, [T, T - 1]."""
    keys = tf.reshape(uniform(size * size, seed), (size, size))
    return tf.argsort(keys + 2 * tf.eye(size), axis=1)[:, : size - 1]


def weights_of_projections(gramian: tf.Tensor, orders: tf.Tensor) -> tf.Tensor:
    """Return the weights [T] of the sum of the projected gradients.

    Args:
        gramian: G, [T, T].
        orders: For each task, the others in the order in which it is projected, [T, T - 1].
    """
    size = gramian.shape[0]
    squares = tf.linalg.diag_part(gramian)
    rows = tf.eye(size, dtype=gramian.dtype)
    for step in range(size - 1):
        others = orders[:, step]
        product = tf.reduce_sum(rows * tf.gather(gramian, others), 1)
        change = tf.math.divide_no_nan(tf.nn.relu(-product), tf.gather(squares, others))
        rows += change[:, None] * tf.one_hot(others, size, dtype=gramian.dtype)
    return tf.reduce_sum(rows, 0)
