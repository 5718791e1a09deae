"""Moving averages of a method's weights."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import in_range
from tf_mtl.balancing._base import Balancing
from tf_mtl.balancing._wrapper import Wrapper


@keras.saving.register_keras_serializable("tf_mtl")
class EMA(Wrapper):
    r"""CR-MOGM: moving averages $\lambda \leftarrow \beta \lambda + (1 - \beta) w$ of another method's weights w.

    The weights of a scalarizer are the derivatives of its objective with respect to the losses. For an aggregator, the
    direction is averaged. A task's average starts at its first weight, and does not change while the task's gradient is
    zero, as without labels.

    Needs: what the method needs.
    Cost: that of the method.
    Reference: Zhou et al., "On the Convergence of Stochastic Multi-Objective Gradient Manipulation and Beyond",
        NeurIPS 2022.

    Args:
        method: A method of any kind that does not learn from validation batches.
        beta: Weight of the past average, in [0, 1]; 0.9 in the paper.
        name: Name of the layer.

    Raises:
        TypeError: if `method` is not a balancing method.
        ValueError: if `beta` is out of range, or the method learns from validation batches.

    Example:

    >>> method = mtl.balancing.EMA(mtl.balancing.MGDA(), beta=0.9)
    """

    def __init__(self, method: Balancing, beta: float = 0.9, name: str | None = None):
        super().__init__(method, name)
        self.beta = in_range("beta", beta, 0, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.weighting.build(input_shape)
        averages_direction = self.kind == "jacobian"
        self.mean = self.add_state("mean", input_shape[1:] if averages_direction else input_shape[:1])
        self.begun = self.add_state("begun", () if averages_direction else input_shape[:1])

    def replace(self, compute: Callable[[], tf.Tensor], labelled: tf.Tensor) -> tf.Tensor:
        """Update the averages, and return them."""
        is_updated = tf.reduce_any(labelled) if self.kind == "jacobian" else labelled
        begun, mean = tf.convert_to_tensor(self.begun), tf.convert_to_tensor(self.mean)
        decay = begun * self.beta
        mean = tf.where(is_updated, decay * mean + (1 - decay) * compute(), mean)
        self.mean.assign(mean)
        self.begun.assign(tf.where(is_updated, 1.0, begun))
        return mean

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "beta": self.beta}
