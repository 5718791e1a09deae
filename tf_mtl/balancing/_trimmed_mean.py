"""The mean of the gradients without the extremes."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing._base import Aggregator


@keras.saving.register_keras_serializable("tf_mtl")
class TrimmedMean(Aggregator):
    r"""Trimmed mean: for each entry, the mean of the tasks' gradients without the smallest and the largest.

    All gradients count, including those that are zero. Up to `trim` gradients may be arbitrary: NaN counts as the
    largest value.

    Needs: the Jacobian.
    Cost: one backward pass per task.
    Reference: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018.

    Args:
        trim: The number of values left out at either end; 1 by default. T must be greater than 2 `trim`.
        name: Name of the layer.

    Raises:
        ValueError: if `trim` is negative; in `compile`, if there are too few tasks.

    Example:

    >>> mtl.balancing.TrimmedMean()(np.array([[1.0, 5], [2, 0], [9, 1]])).numpy().tolist()
    [2.0, 1.0]
    """

    def __init__(self, trim: int = 1, name: str | None = None):
        super().__init__(name=name)
        self.trim = integer("trim", trim, 0)

    def build(self, input_shape: tuple[int, ...]) -> None:
        if input_shape[0] <= 2 * self.trim:
            raise ValueError(
                f"TrimmedMean(trim={self.trim}) needs at least {2 * self.trim + 1} tasks, received {input_shape[0]}. "
                "Lower `trim`, or use another method."
            )

    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian [T, P]."""
        ordered = tf.sort(tf.where(tf.math.is_nan(jacobian), float("inf"), jacobian), 0)
        return tf.reduce_mean(ordered[self.trim : jacobian.shape[0] - self.trim], 0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "trim": self.trim}
