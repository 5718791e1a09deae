"""Impartial multi-task learning of losses and gradients."""

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Weighting
from tf_mtl.balancing._imtl_grad import IMTLGrad
from tf_mtl.balancing._labelled import labelled


@keras.saving.register_keras_serializable("tf_mtl")
class IMTL(Weighting):
    r"""IMTL: `IMTLLoss` for the losses, and `IMTLGrad` for their gradients.

    Every loss becomes $e^{s_t} L_t - s_t$ with learned s, which the model's optimizer updates. The tasks' own variables
    get the gradients of these losses, and the shared variables get the impartial combination of the gradients.
    Losses must be positive: below 0 the transformed losses have no minimum in s.

    Needs: the Gramian, and losses.
    Cost: one backward pass per task.
    Reference: Liu et al., "Towards Impartial Multi-Task Learning", ICLR 2021.

    Example:

    >>> mtl.balancing.IMTL()(np.diag([4.0, 1.0])).numpy().round(4).tolist()
    [0.3333, 0.6667]
    """

    lowest_loss = 0.0

    def __init__(self, name: str | None = None):
        super().__init__(name=name)
        self.impartial = IMTLGrad()

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.log_scales = self.add_weight(shape=input_shape[:1], initializer="zeros", name="log_scales")

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the scaled losses [T]."""
        s = tf.cast(self.log_scales, losses.dtype)
        return labelled(losses) * (tf.exp(s) * losses - s)

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] of the scaled losses."""
        return self.impartial.call(gramian)
