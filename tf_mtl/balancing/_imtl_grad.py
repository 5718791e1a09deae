"""Impartial multi-task learning of gradients."""

import keras
import tensorflow as tf

from tf_mtl.balancing import _gramians
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class IMTLGrad(Weighting):
    r"""IMTL-G: the direction with equal projections on all gradients, $w \propto G^+ \sqrt{\mathrm{diag}\,G}$.

    The weights sum to 1, and some may be negative. If the gradients are linearly dependent, the pseudo-inverse is that
    of their cosines; if no such direction exists, the weights are 0. A task whose gradient is zero, such as one without
    labels, is left out.

    Needs: the Gramian.
    Cost: one backward pass per task.
    Reference: Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021.

    Example:

    >>> mtl.balancing.IMTLGrad()(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.3333, 0.6667]
    """

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T]."""
        unit = _gramians.unit_diagonal(gramian)
        weights = _gramians.equal_cosines(unit, unit.present) / unit.norms
        return tf.cast(tf.math.divide_no_nan(weights, tf.reduce_sum(weights)), gramian.dtype)
