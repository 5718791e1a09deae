"""Weights chosen by hand."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from tf_mtl._names import check_names
from tf_mtl.balancing._base import Scalarizer


@keras.saving.register_keras_serializable("tf_mtl")
class Fixed(Scalarizer):
    r"""The weighted sum of the tasks' losses, $\sum_t w_t L_t$. No state, no cost.

    Args:
        weights: One non-negative number per task: `{task: weight}`, or a list in the order of the model's outputs.
        name: Name of the layer.

    Raises:
        ValueError: if a weight is negative or not finite, or, in `compile`, if names or their number do not fit.

    Example:

    >>> float(mtl.balancing.Fixed([1.0, 1.0, 0.5])(np.array([0.5, 1.0, 2.0])))
    2.5
    """

    def __init__(self, weights: Mapping[str, float] | Sequence[float], name: str | None = None):
        super().__init__(name=name)
        values = list(weights.values()) if isinstance(weights, Mapping) else list(weights)
        if any(not 0 <= value < float("inf") for value in values):
            raise ValueError(f"`weights` must be finite and not negative, received {weights}.")
        self.weights_by_task = dict(weights) if isinstance(weights, Mapping) else None
        self.values = values

    def bind(self, tasks: tuple[str, ...]) -> None:
        """Bring weights given by name into the order of `tasks`."""
        super().bind(tasks)
        if self.weights_by_task is not None:
            check_names("weights", self.weights_by_task, tasks)
            self.values = [self.weights_by_task[task] for task in tasks]
        elif len(self.values) != len(tasks):
            raise ValueError(
                f"`weights` must have one number per task, received {len(self.values)} for the tasks {list(tasks)}."
            )

    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the weighted sum of the losses [T]."""
        return tf.tensordot(tf.constant(self.values, losses.dtype), losses, 1)

    def get_config(self):
        weights = list(self.values) if self.weights_by_task is None else dict(self.weights_by_task)
        return {**super().get_config(), "weights": weights}
