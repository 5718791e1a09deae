"""The geometric mean of the losses."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled, log


@keras.saving.register_keras_serializable("tf_mtl")
class GLS(Scalarizer):
    r"""Geometric loss strategy: $\prod_t L_t^{1/T} = \exp(\frac1T \sum_t \log L_t)$. Losses must be positive.

    T is the number of tasks that have labels.

    Needs: losses.
    Cost: one backward pass.
    Reference: Chennupati et al., "MultiNet++: Multi-Stream Feature Aggregation and Geometric Loss Strategy for
        Multi-Task Learning", CVPR Workshops 2019.

    Example:

    >>> round(float(mtl.balancing.GLS()(np.array([0.5, 1.0, 2.0]))), 6)
    1.0
    """

    lowest_loss = 0.0

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the geometric mean of the losses [T]."""
        return tf.exp(tf.math.divide_no_nan(tf.reduce_sum(log(losses)), tf.reduce_sum(labelled(losses))))
