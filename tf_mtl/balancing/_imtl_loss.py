"""The loss half of impartial multi-task learning."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled


@keras.saving.register_keras_serializable("tf_mtl")
class IMTLLoss(Scalarizer):
    r"""IMTL-L: $\sum_t e^{s_t} L_t - s_t$ with learned s, which brings every $e^{s_t} L_t$ to 1.

    The model's optimizer learns s [T], from 0, beside the model's own variables, with its weight decay, if it has one.
    The s of tasks without labels in a batch stay.

    Needs: losses.
    Cost: one backward pass.
    Reference: Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021.

    Example:

    >>> float(mtl.balancing.IMTLLoss()(np.array([0.5, 1.0, 2.0])))
    3.5
    """

    def build(self, input_shape):
        self.log_scales = self.add_weight(shape=input_shape, initializer="zeros", name="log_scales")

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective from the losses [T]."""
        s = tf.cast(self.log_scales, losses.dtype)
        return tf.reduce_sum(labelled(losses) * (tf.exp(s) * losses - s))
