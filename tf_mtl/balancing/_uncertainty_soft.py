"""Weights from the softmax of inverse losses."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Scalarizer
from tf_mtl.balancing._labelled import labelled, softmax


@keras.saving.register_keras_serializable("tf_mtl")
class UncertaintySoft(Scalarizer):
    r"""Soft optimal uncertainty weighting (UW-SO): $w = \mathrm{softmax}(1 / (\tau L))$, constant in the gradient.

    $1/L$ is the analytic optimum of uncertainty weighting. The weights sum to 1 over the tasks that have labels.
    Losses must be positive.

    Needs: losses.
    Cost: one backward pass.
    Reference: Kirchdorfer et al., "Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning", GCPR 2024.

    Args:
        temperature: tau, greater than 0. The paper tunes it; 1 by default.
        name: Name of the layer.

    Raises:
        ValueError: if `temperature` is not positive.

    Example:

    >>> float(mtl.balancing.UncertaintySoft()(np.array([2.0, 2.0])))
    2.0
    """

    lowest_loss = 0.0

    def __init__(self, temperature: float = 1.0, name: str | None = None):
        super().__init__(name=name)
        self.temperature = in_range("temperature", temperature, 0, open_low=True)

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        inverse = tf.minimum(tf.math.divide_no_nan(tf.ones_like(losses), losses), 1e30)
        weights = softmax(inverse / self.temperature, labelled(losses))
        return tf.reduce_sum(tf.stop_gradient(weights) * losses)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
