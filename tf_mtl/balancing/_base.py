"""The three kinds of balancing methods: losses -> scalar, Gramian -> weights, Jacobian -> direction."""

from abc import ABC, abstractmethod

import keras
import tensorflow as tf


class Balancing(keras.layers.Layer, ABC):
    """What the three kinds have in common: float32, built for T tasks, and called in the graph.

    A method's state is made in `build` with `add_state`, so it is saved with the model and is the same on every
    replica. Every replica calls the method with the same global values.

    Args:
        name: Name of the layer.
    """

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.tasks: tuple[str, ...] = ()

    def bind(self, tasks: tuple[str, ...]) -> None:
        """Learn the tasks' names, in the order of losses and rows; `compile` calls this.

        Raises:
            ValueError: if the method already serves other tasks.
        """
        if self.tasks not in ((), tuple(tasks)):
            raise ValueError(
                f"This {type(self).__name__} object balances the tasks {list(self.tasks)} and cannot take "
                f"{list(tasks)}: its state belongs to them. Make a new one for each model."
            )
        self.tasks = tuple(tasks)

    def add_state(self, name: str, shape: tuple[int, ...], initializer="zeros") -> keras.Variable:
        """Make a variable that the method updates by `assign` (not by the optimizer)."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def get_config(self):
        return {"name": self.name}


class Scalarizer(Balancing):
    """Turns the tasks' losses into one scalar, the objective; trainable variables are the optimizer's to update."""

    @abstractmethod
    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective, a scalar, from the losses [T]."""


class Weighting(Balancing):
    """Turns the Gramian of the tasks' gradients into weights; the update is their weighted sum."""

    @abstractmethod
    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian G = J J^T, [T, T], and the losses [T]."""


class Aggregator(Balancing):
    """Turns the Jacobian of the tasks' losses into the direction of the update."""

    @abstractmethod
    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian J, [T, P], and the losses [T]."""
