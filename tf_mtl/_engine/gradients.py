"""Arithmetic with gradients: dense or sparse tensors, or None where there is none."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Gradient: TypeAlias = tf.Tensor | tf.IndexedSlices | None


class GradientSums:
    """Sums of gradients by variable; a variable without any has None."""

    def __init__(self) -> None:
        self._by_variable: dict[int, Gradient] = {}

    def add(self, variables: Sequence[keras.Variable], gradients: Iterable[Gradient]) -> None:
        """Add one gradient, or None, for each variable."""
        for variable, gradient in zip(variables, gradients, strict=True):
            if gradient is not None:
                self._by_variable[id(variable)] = plus(self._by_variable.get(id(variable)), gradient)

    def add_penalty(
        self, tape: tf.GradientTape, penalty: tf.Tensor | None, variables: Sequence[keras.Variable], scale: Any
    ) -> None:
        """Add the gradients of a penalty, if there is one."""
        if penalty is not None and variables:
            self.add(variables, gradients_of(tape, [penalty], variables, [scale]))

    @property
    def values(self) -> list[Gradient]:
        """The sums, in the order in which variables were first added."""
        return list(self._by_variable.values())

    def replace(self, values: Sequence[Gradient]) -> None:
        """Replace all sums, given in the order of `values`."""
        self._by_variable = dict(zip(self._by_variable, values, strict=True))

    def pairs(self, variables: Sequence[keras.Variable]) -> list[tuple[Gradient, keras.Variable]]:
        """Return pairs of a gradient and its variable."""
        return [(self._by_variable.get(id(v)), v) for v in variables]


def gradients_of(
    tape: tf.GradientTape,
    targets: Sequence[tf.Tensor | None],
    variables: Sequence[keras.Variable],
    output_gradients: Sequence[Any],
) -> list[Gradient]:
    """Return the gradients of targets, some of which may be None, with respect to variables."""
    pairs = [(t, tf.cast(g, t.dtype)) for t, g in zip(targets, output_gradients, strict=True) if t is not None]
    given, factors = [t for t, _ in pairs], [g for _, g in pairs]
    return tape.gradient(given, values_of(variables), output_gradients=factors)


def plus(one: Gradient, other: Gradient) -> Gradient:
    """Return the sum of two gradients, either of which may be None; two sparse ones keep the rows of both."""
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, tf.IndexedSlices) and isinstance(other, tf.IndexedSlices):
        values, indices = tf.concat([one.values, other.values], 0), tf.concat([one.indices, other.indices], 0)
        return tf.IndexedSlices(values, indices, one.dense_shape)
    return tf.convert_to_tensor(one) + tf.convert_to_tensor(other)


def plus_all(one: Sequence[Gradient], other: Sequence[Gradient]) -> list[Gradient]:
    """Return the sums of two lists of gradients, the first of which may be empty."""
    return [plus(*pair) for pair in zip(one, other, strict=True)] if one else list(other)


def after(gradients: Any, x: Any) -> Any:
    """Return `x`, computed after earlier gradients, so that one micro-batch's activations live at a time."""
    given = [g for g in tf.nest.flatten(gradients, expand_composites=True) if g is not None]
    if not given:
        return x
    with tf.control_dependencies(given):
        return tf.nest.map_structure(tf.identity, x, expand_composites=True)


def loss_scale(model: keras.Model) -> Any:
    """Return the factor that the optimizer expects on every gradient, and divides by: above 1 for float16."""
    return model.optimizer.scale_loss(1.0)


def values_of(variables: Sequence[keras.Variable]) -> list[tf.Variable]:
    """Return the TensorFlow variables, which gradient tapes know."""
    return [v.value for v in variables]


def trainable(variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return the variables that are trainable."""
    return [v for v in variables if v.trainable]
