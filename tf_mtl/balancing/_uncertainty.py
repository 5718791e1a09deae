"""Weighting by learned homoscedastic uncertainty."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled


@keras.saving.register_keras_serializable("tf_mtl")
class Uncertainty(Scalarizer):
    r"""Uncertainty weighting: $\sum_t \frac12 e^{-s_t} L_t + \frac12 s_t$ with learned log variances s.

    The model's optimizer updates s [T] together with the model's variables, with weight decay if the optimizer has one.
    If a task has no labels in a batch, its s does not change. Losses must be positive: below 0 the objective has no
    minimum in s.

    Needs: losses.
    Cost: one backward pass.
    Reference: Kendall, Gal & Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
        Semantics", CVPR 2018.

    Args:
        initial: Initial value of every s; 0 gives the weights 1/2. -0.5 in LibMTL.
        name: Name of the layer.

    Raises:
        ValueError: if `initial` is not a finite number.

    Example:

    >>> float(mtl.balancing.Uncertainty()(np.array([0.5, 1.0, 2.0])))
    1.75
    """

    lowest_loss = 0.0

    def __init__(self, initial: float = 0.0, name: str | None = None):
        super().__init__(name=name)
        self.initial = in_range("initial", initial)

    def build(self, input_shape: tuple[int, ...]) -> None:
        initializer = keras.initializers.Constant(self.initial)
        self.log_variances = self.add_weight(shape=input_shape, initializer=initializer, name="log_variances")

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective from the losses [T]."""
        s = tf.cast(self.log_variances, losses.dtype)
        return 0.5 * tf.reduce_sum(labelled(losses) * (tf.exp(-s) * losses + s))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial": self.initial}
