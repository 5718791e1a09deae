"""What methods that wrap another method have in common."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing._base import Balancing


class Wrapper(Balancing):
    """A method of any kind around another of the same kind.

    Subclasses give `replace`, which replaces what the wrapped method says: the weights of a scalarizer (the objective's
    derivatives by the losses) or of a weighting, or the direction of an aggregator.

    Args:
        method: The wrapped method.
        name: Name of the layer.

    Raises:
        TypeError: if `method` is not a balancing method.
        ValueError: if the method learns from validation batches.
    """

    def __init__(self, method: Balancing, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(method, Balancing):
            raise TypeError(f"`method` must be a method of tf_mtl.balancing, received {method!r}.")
        if method.needs_validation:
            raise ValueError(f"`method` must not learn from validation batches, as {type(method).__name__} does.")
        self.weighting = method  # files of version 0.1 hold its state under this name
        self.kind = method.kind
        self.needs_half_batches = method.needs_half_batches
        self.has_jacobian_state = method.kind == "jacobian"
        self.observes_update = method.observes_update

    def set_tasks(self, tasks: tuple[str, ...]) -> None:
        """Set the tasks' names; called before `build`."""
        super().set_tasks(tasks)
        self.weighting.set_tasks(tasks)

    def transform(self, losses: tf.Tensor) -> tf.Tensor:
        """Return what the wrapped method makes of the losses [T]."""
        return self.weighting.transform(losses)

    def observe(self, losses: tf.Tensor) -> None:
        """Pass the losses [T] on."""
        self.weighting.observe(losses)

    def end_epoch(self) -> None:
        """Tell the wrapped method that an epoch has ended."""
        self.weighting.end_epoch()

    @property
    def derivatives_are_constant(self):
        return self.kind != "losses" and super().derivatives_are_constant

    @abstractmethod
    def replace(self, compute: Callable[[], tf.Tensor], labelled: tf.Tensor) -> tf.Tensor:
        """Return what takes the place of the wrapped method's weights [T] or direction [P], float32.

        Args:
            compute: Calls the wrapped method.
            labelled: Which tasks have a loss or a gradient, [T]; those without labels have none.
        """

    def call(self, values: tf.Tensor, losses: tf.Tensor | None = None) -> tf.Tensor:
        """Return an objective, weights [T] or a direction [P], as the wrapped method does."""
        if self.kind == "losses":
            return self._objective(values)
        labelled = tf.linalg.diag_part(values) != 0 if self.kind == "gramian" else tf.reduce_any(values != 0, 1)
        result = self.replace(lambda: tf.cast(self.weighting.call(values, losses), tf.float32), labelled)
        return tf.cast(result, values.dtype)

    def _objective(self, losses):
        with tf.GradientTape() as tape:
            tape.watch(losses)
            objective = self.weighting.call(losses)
        slopes = tf.cast(tape.gradient(objective, losses), tf.float32)
        weights = self.replace(lambda: slopes, losses != 0)
        # its derivatives by the losses are the new weights; those by the wrapped method's own variables stay
        return objective + tf.reduce_sum(tf.stop_gradient(tf.cast(weights - slopes, losses.dtype)) * losses)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "method": keras.saving.serialize_keras_object(self.weighting)}

    @classmethod
    def from_config(cls, config):
        """Return a method from `get_config`'s dict."""
        config = dict(config)
        method = config.pop("weighting", None) or config.pop("method")  # the former in files of version 0.1
        return cls(keras.saving.deserialize_keras_object(method), **config)
