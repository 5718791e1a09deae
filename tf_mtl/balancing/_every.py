"""Solve a method now and then."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tf_mtl._arguments import integer
from tf_mtl.balancing._base import Balancing
from tf_mtl.balancing._wrapper import Wrapper


@keras.saving.register_keras_serializable("tf_mtl")
class Every(Wrapper):
    r"""A method that is solved at every n-th step, and whose weights are kept in between.

    The weights of a scalarizer are its objective's derivatives by the losses; of an aggregator the direction is kept.
    The first step is solved, and so is one in which a task has labels that had none when the weights were found.

    Needs: what the method needs.
    Cost: one backward pass per task, and the solver at every n-th step only.
    Reference: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, section 4.

    Args:
        method: A method of any kind without variables of its own.
        n: The number of steps from one solution to the next, at least 1.
        name: Name of the layer.

    Raises:
        TypeError: if `method` is not a balancing method.
        ValueError: if `n` is not a positive integer, or the method keeps state or learns from validation batches.

    Example:

    >>> method = mtl.balancing.Every(mtl.balancing.UPGrad(), 10)
    """

    def __init__(self, method: Balancing, n: int, name: str | None = None):
        super().__init__(method, name)
        self.n = integer("n", n, 1)

    def build(self, input_shape):
        self.weighting.build(input_shape)
        if self.weighting.variables:
            raise ValueError(
                f"`method` must not keep state, which would miss steps; received {type(self.weighting).__name__}."
            )
        self.step = self.add_state("step", (), dtype="int64")
        self.last = self.add_state("last", input_shape[1:] if self.kind == "jacobian" else input_shape[:1])
        self.solved = self.add_state("solved", input_shape[:1])

    def replace(self, compute: Callable[[], tf.Tensor], labelled: tf.Tensor) -> tf.Tensor:
        """Return the last weights or direction, computed anew where that is due."""
        step, last = tf.convert_to_tensor(self.step), tf.convert_to_tensor(self.last)
        present, solved = tf.cast(labelled, tf.float32), tf.convert_to_tensor(self.solved)
        due = (step % self.n == 0) | tf.reduce_any(present > solved)
        result = tf.cond(due, compute, lambda: last)
        self.step.assign(step + 1)
        self.last.assign(result)
        self.solved.assign(tf.where(due, present, solved))
        return result

    def get_config(self):
        return {**super().get_config(), "n": self.n}
