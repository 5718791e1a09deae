"""Conflict-averse gradient descent."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import in_range, one_of
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class CAGrad(Weighting):
    r"""CAGrad: near the mean gradient $g_0$, the direction that is best for the task that it serves worst.

    $\max_d \min_t g_t \cdot d$ for $\lVert d - g_0 \rVert \le c \lVert g_0 \rVert$, by its dual:
    $d = g_0 + c \lVert g_0 \rVert g_w / \lVert g_w \rVert$ with $g_w = J^\top w$ and
    $w = \arg\min g_w \cdot g_0 + c \lVert g_0 \rVert \lVert g_w \rVert$ over the simplex. A task whose gradient is
    zero, as without labels, has no part in w.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021.

    Args:
        c: Radius relative to the mean gradient, not negative; 0 gives the mean gradient. 0.4 in the authors' code.
        rescale: What divides d: 0, nothing; 1, $1 + c^2$; 2, $1 + c$. 1 in the authors' code.
        name: Name of the layer.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> jacobian = np.array([[-4.0, 1, 1], [6, 1, 1]])
    >>> mtl.balancing.CAGrad(c=0.5, rescale=0)(jacobian @ jacobian.T).numpy().round(4).tolist()
    [0.7041, 0.5]
    """

    def __init__(self, c: float = 0.4, rescale: int = 1, name: str | None = None):
        super().__init__(name=name)
        self.c = in_range("c", c, 0)
        self.rescale = one_of("rescale", rescale, (0, 1, 2))

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        size, dtype = gramian.shape[0], gramian.dtype
        mean = tf.fill([size], tf.constant(1 / size, tf.float64))
        worst = _solvers.minimum_of_norm_and_line(gramian, mean, self.c)
        gramian = tf.cast(gramian, tf.float64)
        ratio = tf.math.divide_no_nan(_length(gramian, mean), _length(gramian, worst))
        divisor = (1.0, 1 + self.c**2, 1 + self.c)[self.rescale]
        return tf.cast((mean + self.c * ratio * worst) / divisor, dtype)

    def get_config(self):
        return {**super().get_config(), "c": self.c, "rescale": self.rescale}


def _length(gramian, weights):
    return tf.sqrt(tf.nn.relu(tf.reduce_sum(weights * tf.linalg.matvec(gramian, weights))))
