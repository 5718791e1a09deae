"""The three kinds of balancing methods: losses -> scalar, Gramian -> weights, Jacobian -> direction."""

import random
import weakref
from abc import ABC, abstractmethod
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._arguments import integer


class Balancing(keras.layers.Layer, ABC):
    """What the three kinds have in common: float32 state, built for T tasks, and called in the graph.

    A method's state is made in `build` with `add_state`, so it is saved with the model and is the same on every
    replica. Every replica calls the method with the same global values. A task that has no label in a batch has the
    loss 0 and a gradient of zeros; methods leave such a task out.

    Args:
        name: Name of the layer.

    Attributes:
        tasks: The tasks' names, in the order of losses and rows; empty outside a model.
        kind: What the method balances: "losses", "gramian" or "jacobian".
        weights_are_constant: Whether the weights never change, so that there is nothing to log.
        needs_half_batches: Whether a weighting needs the Gramian J1 J2^T of the gradients on two halves of the batch
            instead of J J^T.
        has_jacobian_state: Whether the method keeps state of the Jacobian's width.
        observes_update: Whether `observe` needs the losses of the same batch after each update, which costs a
            forward pass.
        needs_validation: Whether the method learns from other batches, its attribute `validation`.
    """

    kind: str
    weights_are_constant = False
    needs_half_batches = False
    has_jacobian_state = False
    observes_update = False
    needs_validation = False

    def __init__(self, name: str | None = None):
        super().__init__(name=name or type(self).__name__.lower(), dtype="float32", autocast=False)
        self.tasks: tuple[str, ...] = ()
        self._bound = None

    def __call__(self, values, losses=None):
        """Call the method with arrays or tensors of any type of number, or lists."""
        given = {} if losses is None else {"losses": _floating(losses)}
        return super().__call__(_floating(values), **given)

    def bind(self, tasks: tuple[str, ...], input_shape: tuple[int | None, ...], owner: keras.Model) -> None:
        """Make the state for a model's tasks; `compile` calls this.

        Args:
            tasks: The tasks' names, in the order of losses and rows.
            input_shape: Shape of what `call` is given: losses, Gramian or Jacobian.
            owner: The model.

        Raises:
            ValueError: if the method already serves other tasks; or, where it has variables, another model or
                gradients of another size.
        """
        bound = (weakref.ref(owner), tuple(tasks), tuple(input_shape))
        if self._bound is None and self.built:
            raise ValueError(
                f"This {type(self).__name__} object was called outside a model before. Make a new one for the model."
            )
        other_tasks = self._bound is not None and self.tasks != tuple(tasks)
        if other_tasks or (self.variables and self._bound not in (None, bound)):
            raise ValueError(
                f"This {type(self).__name__} object balances the tasks {list(self.tasks)} of a model as it was "
                f"compiled; its state belongs to them, and not to another model or other shared variables, with the "
                f"tasks {list(tasks)}. Make a new one for each."
            )
        self._bound = bound
        self.set_tasks(tuple(tasks))
        if not self.built:
            self.build(input_shape)
            self.built = True

    def set_tasks(self, tasks: tuple[str, ...]) -> None:
        """Set the tasks' names; called before `build`."""
        self.tasks = tasks

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return what replaces the losses, [T], before a weighting's or an aggregator's gradients are taken.

        Each entry is a function of its own loss; by default the loss itself. A task's own variables get the gradient of
        its entry, and the method's trainable variables that of the sum.
        """
        return losses

    def observe(self, losses: tf.Tensor) -> None:
        """Receive the losses [T] of the batch of the last call, after the update; see `observes_update`."""

    def end_epoch(self) -> None:
        """Called at the end of each epoch of `fit`."""

    @property
    def derivatives_are_constant(self) -> bool:
        """Whether the objective's derivatives by the losses do not depend on the losses."""
        losses = tf.zeros([len(self.tasks)])
        return self.transform(losses) is losses

    def add_state(self, name: str, shape: tuple[int, ...], initializer="zeros", dtype="float32") -> keras.Variable:
        """Make a variable that the method updates by `assign` (not by the optimizer)."""
        return self.add_weight(
            shape=shape,
            initializer=initializer,
            dtype=dtype,
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def get_build_config(self):
        # `compile` builds a loaded method, once the tasks' names are known.
        return None

    def get_config(self):
        return {"name": self.name}


class Scalarizer(Balancing):
    """Turns the tasks' losses into one scalar, the objective."""

    kind = "losses"

    @property
    def derivatives_are_constant(self):
        return self.weights_are_constant

    @abstractmethod
    def call(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the objective, a scalar, from the losses [T]."""


class Weighting(Balancing):
    """Turns the Gramian of the tasks' gradients into weights; the update is their weighted sum."""

    kind = "gramian"

    @abstractmethod
    def call(self, gramian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return weights [T] from the Gramian G = J J^T, [T, T], and the losses [T]."""


class Aggregator(Balancing):
    """Turns the Jacobian of the tasks' losses into the direction of the update."""

    kind = "jacobian"

    @abstractmethod
    def call(self, jacobian: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return the direction [P] from the Jacobian J, [T, P], and the losses [T]."""


class SeedSequence:
    """Seeds for stateless random operations: the same on every replica, and new ones at each call.

    Args:
        owner: The method that draws, in its `build`.
        seed: The first half of every seed.
    """

    def __init__(self, owner: Balancing, seed: int):
        self._seed = seed
        self._count = owner.add_state("seeds", (), dtype="int64")

    def next(self) -> tf.Tensor:
        """Return a new seed, [2]."""
        self._count.assign(self._count + 1)
        return tf.stack([tf.constant(self._seed, tf.int64), tf.convert_to_tensor(self._count)])


def default_seed(seed: int | None) -> int:
    """Return `seed`, or a number that `keras.utils.set_random_seed` determines.

    Raises:
        ValueError: if it is not an integer.
    """
    return random.randint(1, 2**31 - 1) if seed is None else integer("seed", seed, 0)


def _floating(values: Any) -> tf.Tensor:
    tensor = tf.convert_to_tensor(values)
    return tensor if tensor.dtype.is_floating else tf.cast(tensor, tf.float32)
