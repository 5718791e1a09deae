"""Impartial multi-task learning of losses."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled


@keras.saving.register_keras_serializable("tf_mtl")
class IMTLLoss(Scalarizer):
    r"""IMTL-L: $\sum_t e^{s_t} L_t - s_t$ with learned s, which drives every $e^{s_t} L_t$ towards 1.

    s [T] starts at 0. The model's optimizer updates it together with the model's variables, with weight decay if the
    optimizer has one. If a task has no labels in a batch, its s does not change. Losses must be positive: below 0
    the objective has no minimum in s.

    Needs: losses.
    Cost: one backward pass.
    Reference: Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021.

    Example:

    >>> float(mtl.balancing.IMTLLoss()(np.array([0.5, 1.0, 2.0])))
    3.5
    """

    lowest_loss = 0.0

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.log_scales = self.add_weight(shape=input_shape, initializer="zeros", name="log_scales")

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective from the losses [T]."""
        s = tf.cast(self.log_scales, losses.dtype)
        return tf.reduce_sum(labelled(losses) * (tf.exp(s) * losses - s))
