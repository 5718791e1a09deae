"""Conflict-averse gradient descent."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import one_of
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class CAGrad(Weighting):
    r"""CAGrad: the direction near the mean gradient $g_0$ that maximizes the smallest gain of any task.

    $\max_d \min_t g_t \cdot d$ for $\lVert d - g_0 \rVert \le c \lVert g_0 \rVert$, solved by its dual:
    $d = g_0 + c \lVert g_0 \rVert g_w / \lVert g_w \rVert$ with $g_w = J^\top w$ and
    $w = \arg\min g_w \cdot g_0 + c \lVert g_0 \rVert \lVert g_w \rVert$ over the simplex. A task whose gradient is
    zero, such as one without labels, has the weight 0 in w.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning", NeurIPS 2021.

    Args:
        c: Radius relative to the norm of the mean gradient, at least 0; 0 gives the mean gradient. 0.4 in the authors'
            code.
        rescale: Divisor of d: 0 for none, 1 for $1 + c^2$, 2 for $1 + c$. 1 in the authors' code.
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
        dual = _solvers.minimum_of_norm_and_line(gramian, mean, self.c)
        gramian = tf.cast(gramian, tf.float64)
        ratio = tf.math.divide_no_nan(_norm(gramian, mean), _norm(gramian, dual))
        divisor = (1.0, 1 + self.c**2, 1 + self.c)[self.rescale]
        return tf.cast((mean + self.c * ratio * dual) / divisor, dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "c": self.c, "rescale": self.rescale}


def _norm(gramian: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.nn.relu(tf.reduce_sum(weights * tf.linalg.matvec(gramian, weights))))
