"""Solve a weighting now and then."""

import keras
import tensorflow as tf

from tf_mtl.balancing._arguments import whole
from tf_mtl.balancing._base import Weighting


@keras.saving.register_keras_serializable("tf_mtl")
class Every(Weighting):
    r"""A weighting that is solved at every n-th step, and keeps its weights between.

    The first step is solved, and so is one where a task has labels that had none when the weights were found.

    Needs: what the weighting needs.
    Cost: one backward pass per task, and the solver at every n-th step only.
    Reference: Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, section 4.

    Args:
        weighting: A weighting without variables of its own.
        n: The number of steps from one solution to the next, at least 1.
        name: Name of the layer.

    Raises:
        TypeError: if `weighting` is not a weighting.
        ValueError: if `n` is not a positive whole number, or the weighting keeps state.

    Example:

    >>> method = mtl.balancing.Every(mtl.balancing.UPGrad(), 10)
    """

    def __init__(self, weighting: Weighting, n: int, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(weighting, Weighting):
            raise TypeError(f"`weighting` must be a Weighting of tf_mtl.balancing, received {weighting!r}.")
        self.weighting = weighting
        self.n = whole("n", n, 1)

    def name_tasks(self, tasks: tuple[str, ...]) -> None:
        """Learn the tasks' names, before `build`."""
        super().name_tasks(tasks)
        self.weighting.name_tasks(tasks)

    def build(self, input_shape):
        self.weighting.build(input_shape)
        if self.weighting.variables:
            raise ValueError(
                f"`weighting` must not keep state, which would miss steps; received {type(self.weighting).__name__}."
            )
        self.step = self.add_state("step", (), dtype="int64")
        self.last = self.add_state("last", input_shape[:1])
        self.solved = self.add_state("solved", input_shape[:1])

    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian [T, T] and the losses [T], or the last ones."""
        step, last = tf.convert_to_tensor(self.step), tf.cast(self.last, gramian.dtype)
        present = tf.cast(tf.linalg.diag_part(gramian) != 0, tf.float32)
        solved = tf.convert_to_tensor(self.solved)
        due = (step % self.n == 0) | tf.reduce_any(present > solved)
        weights = tf.cond(due, lambda: self.weighting.call(gramian, losses), lambda: last)
        self.step.assign(step + 1)
        self.last.assign(tf.cast(weights, tf.float32))
        self.solved.assign(tf.where(due, present, solved))
        return weights

    def get_config(self):
        return {
            **super().get_config(),
            "weighting": keras.saving.serialize_keras_object(self.weighting),
            "n": self.n,
        }

    @classmethod
    def from_config(cls, config):
        """Return a method from `get_config`'s dict."""
        return cls(**{**config, "weighting": keras.saving.deserialize_keras_object(config["weighting"])})
