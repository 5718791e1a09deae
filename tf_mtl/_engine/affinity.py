"""What a step for one task would change in the losses of the others."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._engine.gradients import trainable, values_of
from tf_mtl._engine.objectives import Objectives, TaskLabels
from tf_mtl._graph.partition import Partition
from tf_mtl._optimizers.internals import apply_global, with_slots

Move = Callable[[keras.Model, list[keras.Variable], list[tf.Tensor]], list[tf.Tensor]]


class Probe(NamedTuple):
    """What one batch says about each two tasks; NaN for tasks without labels in it.

    Attributes:
        affinity: How much smaller task j's loss is after a step for task i, relative to it, [T, T].
        gramians: By layer with shared variables, the inner products of the tasks' gradients, [L, T, T].
    """

    affinity: tf.Tensor
    gramians: tf.Tensor


def probe(
    model: keras.Model,
    objectives: Objectives,
    parts: Partition,
    x: Any,
    labels: TaskLabels,
    move: Move | None,
    rate: Any,
) -> Probe:
    """Look ahead from a batch, in inference mode; the model does not change.

    Args:
        model: The model.
        objectives: The losses in force.
        parts: The model's variables by the tasks that they reach.
        x: The inputs.
        labels: The labels and weights by task.
        move: From gradients of the shared variables to their values after a step; None for the first-order estimate.
        rate: The learning rate of the first-order estimate.
    """
    shared = trainable(parts.shared)
    with tf.GradientTape(persistent=True) as tape:
        losses = _losses(objectives, labels, model(x, training=False))
    gradients = [_dense(tape.gradient(loss, values_of(shared)), shared) for loss in losses]
    columns = [[tf.reshape(gradient, [-1]) for gradient in column] for column in zip(*gradients, strict=True)]
    by_variable = [tf.matmul(stacked, stacked, transpose_b=True) for stacked in map(tf.stack, columns)]
    gramians = tf.stack([tf.add_n([by_variable[i] for i in indices]) for _, indices in layers(parts)])
    now = tf.stack(losses)
    if move is None:
        affinity = rate * tf.reduce_sum(gramians, 0) / now
    else:
        rows: list[tf.Tensor] = []
        for gradient in gradients:
            with tf.control_dependencies(rows[-1:]):  # one step at a time
                values = move(model, shared, [tf.identity(part) for part in gradient])
            pairs = list(zip(shared, values, strict=True))
            with keras.StatelessScope(state_mapping=pairs):
                rows.append(tf.stack(_losses(objectives, labels, model(x, training=False))))
        affinity = 1 - tf.stack(rows) / now
    is_labelled = ~tf.math.is_nan(now)
    return Probe(tf.where(is_labelled[:, None] & is_labelled, affinity, float("nan")), gramians)


def layers(parts: Partition) -> list[tuple[str, list[int]]]:
    """Return the layers with trainable shared variables, and their variables' indices among these."""
    by_layer: dict[str, list[int]] = {}
    for index, variable in enumerate(trainable(parts.shared)):
        by_layer.setdefault(variable.path.rpartition("/")[0] or variable.path, []).append(index)
    return list(by_layer.items())


def gradient_step(rate: float) -> Move:
    """Return a plain step against the gradient."""

    def move(model, variables, gradients):
        return [v.value - tf.cast(rate * g, v.dtype) for v, g in zip(variables, gradients, strict=True)]

    return move


def optimizer_step(model: keras.Model, variables: list[keras.Variable], gradients: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the values after a step of the model's optimizer from its present state, to which it is restored."""
    optimizer = model.optimizer
    state = [*with_slots(optimizer, variables), *_counters(optimizer)]
    before = [tf.identity(v.value) for v in state]
    with tf.control_dependencies(before):
        apply_global(optimizer, [(optimizer.scale_loss(g), v) for g, v in zip(gradients, variables, strict=True)])
    after = [tf.identity(v.value) for v in variables]
    with tf.control_dependencies(after):
        for variable, value in zip(state, before, strict=True):
            variable.assign(value)
    return after


def _counters(optimizer):
    """The variables of an optimizer that belong to no variable of the model, such as its count of steps."""
    of_variables = {id(v) for v in with_slots(optimizer, optimizer._trainable_variables)}
    return [v for v in optimizer.variables if id(v) not in of_variables]


def _losses(objectives, labels, outputs):
    """The loss of each task; NaN without labels."""
    loss_sums, weight_sums = objectives.loss_sums(labels, outputs)
    weights = tf.unstack(weight_sums)
    return [tf.where(weight > 0, loss / weight, float("nan")) for loss, weight in zip(loss_sums, weights, strict=True)]


def _dense(gradients: Sequence[Any], variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    return [
        tf.zeros(v.shape) if g is None else tf.cast(tf.convert_to_tensor(g), tf.float32)
        for g, v in zip(gradients, variables, strict=True)
    ]
