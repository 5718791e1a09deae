"""The base class of methods that wrap another method."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Balancing


class Wrapper(Balancing):
    """Base of methods that wrap another method of any kind; the wrapper is of the same kind.

    Subclasses implement `replace`, which replaces the result of the wrapped method: the weights of a scalarizer (the
    derivatives of its objective with respect to the losses) or of a weighting, or the direction of an aggregator.

    Args:
        method: The wrapped method.
        name: Name of the layer.

    Raises:
        TypeError: if `method` is not a balancing method.
        ValueError: if the method learns from validation batches, or has been used before.
    """

    def __init__(self, method: Balancing, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(method, Balancing):
            raise TypeError(f"`method` must be a method of tf_mtl.balancing, received {method!r}.")
        if method.needs_validation:
            raise ValueError(f"`method` must not learn from validation batches, as {type(method).__name__} does.")
        if method.built:
            raise ValueError(f"`method` must be new, received a {type(method).__name__} that has already been used.")
        self.weighting = method  # a path in saved files
        self.kind = method.kind
        self.needs_half_batches = method.needs_half_batches
        self.has_jacobian_state = method.kind == "jacobian"
        self.observes_update = method.observes_update
        self.is_robust = method.is_robust
        self.lowest_loss = method.lowest_loss

    def set_tasks(self, tasks: tuple[str, ...]) -> None:
        """Set the tasks' names; called before `build`."""
        super().set_tasks(tasks)
        self.weighting.set_tasks(tasks)

    def _check_call(self):
        self.weighting._check_call()

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return the losses [T] as the wrapped method transforms them."""
        return self.weighting.transform(losses)

    @property
    def loss_rule(self) -> str:
        """The rule that the wrapped method's losses must follow."""
        return self.weighting.loss_rule

    def observe(self, losses: tf.Tensor) -> None:
        """Pass the losses [T] on to the wrapped method."""
        self.weighting.observe(losses)

    def end_epoch(self) -> None:
        """End the epoch of the wrapped method."""
        self.weighting.end_epoch()

    @property
    def derivatives_are_constant(self) -> bool:
        return self.kind != "losses" and super().derivatives_are_constant

    @abstractmethod
    def replace(self, compute: Callable[[], tf.Tensor], labelled: tf.Tensor) -> tf.Tensor:
        """Return the replacement of the wrapped method's weights [T] or direction [P], float32.

        Args:
            compute: Calls the wrapped method, and returns its weights or direction, float32.
            labelled: Which tasks have a loss or gradient other than zero, [T]; those without labels do not.
        """

    def call(self, values: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return an objective, weights [T] or a direction [P], whichever the wrapped method returns."""
        if self.kind == "losses":
            return self._objective(values)
        labelled = tf.linalg.diag_part(values) != 0 if self.kind == "gramian" else tf.reduce_any(values != 0, 1)
        result = self.replace(lambda: tf.cast(self.weighting.call(values, losses), tf.float32), labelled)
        return tf.cast(result, values.dtype)

    def _objective(self, losses: tf.Tensor) -> tf.Tensor:
        fixed_losses = tf.stop_gradient(losses)
        with tf.GradientTape() as tape:
            tape.watch(fixed_losses)
            objective = self.weighting.call(fixed_losses)
        slopes = tf.cast(tape.gradient(objective, fixed_losses), tf.float32)
        weights = tf.cast(self.replace(lambda: slopes, losses != 0), losses.dtype)
        # The derivatives by the losses are the new weights, those by the wrapped method's variables the method's own.
        linear = tf.reduce_sum(tf.stop_gradient(weights) * losses)
        return objective + linear - tf.stop_gradient(linear)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "method": keras.saving.serialize_keras_object(self.weighting)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return a method from the dict of `get_config`."""
        config = dict(config)
        method = config.pop("weighting", None) or config.pop("method")  # "weighting" in files of version 0.1
        return cls(keras.saving.deserialize_keras_object(method), **config)
