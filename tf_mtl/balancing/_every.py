"""Methods that are solved at some steps only."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing._base import Balancing
from tf_mtl.balancing._wrapper import Wrapper


@keras.saving.register_keras_serializable("tf_mtl")
class Every(Wrapper):
    r"""Solves a method at every n-th step, and reuses its weights in between.

    The weights of a scalarizer are the derivatives of its objective with respect to the losses. For an aggregator, the
    direction is reused. The method is also solved if a task has labels but had none at the last solution.

    Needs: what the method needs.
    Cost: that of the method; the solver of a gradient method runs at every n-th step only.
    Reference: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, section 4.

    Args:
        method: A method of any kind that has no variables.
        n: The number of steps from one solution to the next, at least 1. The first step is always solved.
        name: Name of the layer.

    Raises:
        TypeError: if `method` is not a balancing method.
        ValueError: if `n` is not a positive integer, or the method has state or learns from validation batches.

    Example:

    >>> method = mtl.balancing.Every(mtl.balancing.UPGrad(), 10)
    """

    def __init__(self, method: Balancing, n: int, name: str | None = None):
        super().__init__(method, name)
        self.n = integer("n", n, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.weighting.build(input_shape)
        if self.weighting.variables:
            raise ValueError(
                f"`method` must not have state, which would miss the steps in between, received "
                f"{type(self.weighting).__name__}. Use a method without state."
            )
        self.step = self.add_state("step", (), dtype="int64")
        self.last = self.add_state("last", input_shape[1:] if self.kind == "jacobian" else input_shape[:1])
        self.solved = self.add_state("solved", input_shape[:1])

    def replace(self, compute: Callable[[], tf.Tensor], labelled: tf.Tensor) -> tf.Tensor:
        """Return the last weights or direction, or new ones at a step that is solved."""
        step, last = tf.convert_to_tensor(self.step), tf.convert_to_tensor(self.last)
        present, solved = tf.cast(labelled, tf.float32), tf.convert_to_tensor(self.solved)
        is_solved = (step % self.n == 0) | tf.reduce_any(present > solved)
        result = tf.cond(is_solved, compute, lambda: last)
        self.step.assign(step + 1)
        self.last.assign(result)
        self.solved.assign(tf.where(is_solved, present, solved))
        return result

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
