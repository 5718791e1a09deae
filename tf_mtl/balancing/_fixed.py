"""Weights chosen by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing._arguments import in_task_order, per_task
from tf_mtl.balancing._base import Scalarizer


@keras.saving.register_keras_serializable("tf_mtl")
class Fixed(Scalarizer):
    r"""Weights chosen by hand: $\sum_t w_t L_t$.

    Needs: losses.
    Cost: one backward pass.
    Reference: Xin et al., "Do Current Multi-Task Optimization Methods in Deep Learning Even Help?", NeurIPS 2022.

    Args:
        weights: One non-negative number per task: `{task: weight}`, or a list in the order of the model's outputs.
        name: Name of the layer.

    Raises:
        ValueError: if a weight is negative or not finite; in `compile`, if the weights do not match the model's tasks.

    Example:

    >>> float(mtl.balancing.Fixed([1.0, 1.0, 0.5])(np.array([0.5, 1.0, 2.0])))
    2.5
    """

    weights_are_constant = True

    def __init__(self, weights: Mapping[str, float] | Sequence[float], name: str | None = None):
        super().__init__(name=name)
        self.task_weights = per_task("weights", weights)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.weight_vector = in_task_order("weights", self.task_weights, self.tasks, input_shape[0])

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        return tf.tensordot(tf.constant(self.weight_vector, losses.dtype), losses, 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "weights": self.task_weights}
