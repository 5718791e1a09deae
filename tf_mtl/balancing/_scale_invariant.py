"""The sum of the logarithms of the losses."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import log


@keras.saving.register_keras_serializable("tf_mtl")
class ScaleInvariant(Scalarizer):
    r"""The scale-invariant sum $\sum_t \log L_t$: a task's weight is $1 / L_t$. Losses must be positive.

    Needs: losses.
    Cost: one backward pass.
    Reference: Lin et al., "Reasonable Effectiveness of Random Weighting" (SI), TMLR 2022.

    Example:

    >>> round(float(mtl.balancing.ScaleInvariant()(np.array([0.5, 1.0, 2.0]))), 6)
    0.0
    """

    lowest_loss = 0.0

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the sum of the logarithms of the losses [T]."""
        return tf.reduce_sum(log(losses))
