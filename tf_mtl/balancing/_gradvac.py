"""Gradient vaccine."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._pcgrad import orders_of_others
from tf_mtl.balancing._random import WithSeed


@keras.saving.register_keras_serializable("tf_mtl")
class GradVac(WithSeed, Weighting):
    r"""Gradient vaccine: a pair of gradients that is less similar than usual is moved to its usual cosine.

    As in `PCGrad`, for each i and each $j \ne i$ in random order: let $\phi$ be the cosine of $g_i'$ and $g_j$, and
    $\hat\phi_{ij}$ its target. If $\phi < \hat\phi_{ij}$,

    $$g_i' \leftarrow g_i' + \frac{\lVert g_i' \rVert (\hat\phi \sqrt{1 - \phi^2} - \phi \sqrt{1 - \hat\phi^2})}
    {\lVert g_j \rVert \sqrt{1 - \hat\phi^2}} g_j$$

    Then, in either case, $\hat\phi_{ij} \leftarrow (1 - \beta) \hat\phi_{ij} + \beta \phi$. The targets start at 0, and
    a correction uses 0.999 at most. A pair with a zero gradient does not change its target.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
        Multilingual Models", ICLR 2021.

    Args:
        beta: Weight of the new cosine in the target, in [0, 1]. 0.5 in LibMTL; 0.01 in the paper.
        seed: Seed of the random orders; by default one that `keras.utils.set_random_seed` determines.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> mtl.balancing.GradVac()(np.array([[1.0, -0.5], [-0.5, 1.0]])).numpy().round(6).tolist()
    [1.5, 1.5]
    """

    def __init__(self, beta: float = 0.5, seed: int | None = None, name: str | None = None):
        super().__init__(seed, name)
        self.beta = in_range("beta", beta, 0, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.targets = self.add_state("targets", input_shape)
        super().build(input_shape)

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T], and update the targets."""
        size, dtype = gramian.shape[0], gramian.dtype
        gramian = tf.cast(gramian, tf.float64)
        norms = tf.sqrt(tf.nn.relu(tf.linalg.diag_part(gramian)))
        targets = tf.cast(tf.convert_to_tensor(self.targets), tf.float64)
        rows = tf.eye(size, dtype=tf.float64)
        orders = orders_of_others(size, self.seeds.next())
        for step in range(size - 1):
            others = orders[:, step]
            one_hot = tf.one_hot(others, size, dtype=tf.float64)
            length = tf.sqrt(tf.nn.relu(tf.reduce_sum(rows * tf.matmul(rows, gramian), 1)))
            product = length * tf.gather(norms, others)
            cosine = tf.math.divide_no_nan(tf.reduce_sum(rows * tf.gather(gramian, others), 1), product)
            cosine = tf.clip_by_value(cosine, -1.0, 1.0)
            target = tf.minimum(tf.reduce_sum(one_hot * targets, 1), 0.999)
            change = tf.math.divide_no_nan(
                length * (target * _sine(cosine) - cosine * _sine(target)), tf.gather(norms, others) * _sine(target)
            )
            rows += tf.where((cosine < target) & (product > 0), change, 0)[:, None] * one_hot
            targets += tf.where(product > 0, self.beta * (cosine - target), 0)[:, None] * one_hot
        self.targets.assign(tf.cast(targets, tf.float32))
        return tf.cast(tf.reduce_sum(rows, 0), dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}


def _sine(cosine: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.nn.relu(1 - cosine**2))
