"""The multiple-gradient descent algorithm."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing import _solvers
from tf_mtl.balancing._arguments import one_of
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class MGDA(Weighting):
    r"""MGDA: the shortest vector in the convex hull of the gradients, $\arg\min_w w^\top G w$ over the simplex.

    The normalization divides each gradient by a number before the problem is solved; the solution then weights the
    original gradients. A task whose gradient is zero, such as one without labels, is left out.

    Needs: the Gramian; losses for the normalizations "loss" and "loss+".
    Cost: one backward pass per task.
    Reference: Sener & Koltun, "Multi-Task Learning as Multi-Objective Optimization", NeurIPS 2018; Désidéri 2012.

    Args:
        normalization: Divisor of a gradient: 1 for "none", its norm for "l2", the task's loss for "loss", and the
            product of both for "loss+". The authors' code has all four; "none" is the algorithm of the paper. Where
            the losses are divisors, they must be positive.
        name: Name of the layer.

    Raises:
        ValueError: for an unknown normalization.

    Example:

    >>> jacobian = np.array([[-4.0, 1, 1], [6, 1, 1]])
    >>> mtl.balancing.MGDA()(jacobian @ jacobian.T).numpy().round(4).tolist()
    [0.6, 0.4]
    """

    def __init__(self, normalization: str = "none", name: str | None = None):
        super().__init__(name=name)
        self.normalization = one_of("normalization", normalization, ("none", "l2", "loss", "loss+"))
        self.lowest_loss = 0.0 if normalization in ("loss", "loss+") else None

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] and, if the normalization uses them, the losses [T]."""
        divisors = tf.ones_like(tf.linalg.diag_part(gramian))
        if self.normalization in ("l2", "loss+"):
            divisors *= tf.sqrt(tf.nn.relu(tf.linalg.diag_part(gramian)))
        if self.normalization in ("loss", "loss+"):
            if losses is None:
                raise ValueError(
                    f"MGDA(normalization={self.normalization!r}) needs `losses`: call it with (gramian, losses=...)."
                )
            divisors *= tf.cast(losses, gramian.dtype)
        inverse = tf.math.divide_no_nan(tf.ones_like(divisors), divisors)
        return tf.cast(_solvers.minimum_norm(gramian * inverse[:, None] * inverse), gramian.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "normalization": self.normalization}
