"""The update of gradient methods that balance the gradients of shared variables: one backward pass per task.

A task's own variables get the gradient of its own loss.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.derivatives import derivatives_for, sum_of_transformed
from tf_mtl._engine.gradients import (
    Gradient,
    GradientSums,
    after,
    gradients_of,
    loss_scale,
    plus_all,
    trainable,
    values_of,
)
from tf_mtl._engine.jacobian import Jacobian, jacobian
from tf_mtl._engine.replicas import per_replica_share, replica_sum
from tf_mtl._engine.task_weights import task_weights
from tf_mtl._engine.update import Update
from tf_mtl._graph.partition import Partition
from tf_mtl.balancing import Balancing


def by_parameters(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Collect the tasks' gradients over micro-batches and replicas, then combine them."""
    collected = _collect(model, balancing, batches, parts)
    weights, direction, gramian = _combine(model, balancing, collected)
    collected.sums.add(collected.jacobian.variables, direction)
    gradients = collected.sums.pairs([*model.trainable_variables, *balancing.trainable_variables])
    return Update(collected.outputs, gradients, weights, collected.losses, gramian)


def shared_gramian(
    model: keras.Model, x: Any, losses_of: Callable[..., list[tf.Tensor]], parts: Partition
) -> tf.Tensor:
    """Return the inner products [T, T] of the tasks' gradients of the shared variables, in inference mode."""
    shared = trainable(parts.shared)
    with tf.GradientTape(persistent=True) as tape:
        losses = losses_of(model(x, training=False))
    return jacobian([tape.gradient(loss, values_of(shared)) for loss in losses], shared).gramian()


class _Collected(NamedTuple):
    """The gradients of the global batch, times the loss scale.

    Attributes:
        outputs: The model's outputs by task, of each micro-batch.
        losses: The global losses, [T].
        jacobian: The tasks' gradients of the shared variables; those on the halves of the batch, [2 T, P], the even
            rows' first, where a method needs them.
        sums: The gradients of the tasks' own variables, of the method's variables and of the penalty.
        to_means: The factors [2, T] from the losses on each half of the batch to their means; None without halves.
    """

    outputs: list[dict[str, tf.Tensor]]
    losses: tf.Tensor
    jacobian: Jacobian
    sums: GradientSums
    to_means: tf.Tensor | None


def _collect(model, balancing, batches, parts):
    shared, scale = trainable(parts.shared), loss_scale(model)
    own = {task: trainable(parts.own[task]) for task in parts.tasks}
    outputs, batch_losses, sums = [], [], GradientSums()
    rows: list[list[Gradient]] = []
    slopes_at = derivatives_for(model, balancing, batches, sum_of_transformed(balancing))
    for batch in batches:
        x = after(rows, batch.x)
        with tf.GradientTape(persistent=True) as tape:
            outputs.append(batch.forward.by_task(parts, x))
            losses, penalty = batch.losses_and_penalty(outputs[-1])
            loss_sums, to_means = [batch.loss_sums], None
            if balancing.needs_half_batches:
                loss_sums, to_means = batch.half_loss_sums(outputs[-1])
        batch_losses.append(losses)
        slopes = slopes_at(losses)
        factors = tf.unstack(slopes.by_losses * scale * batch.slopes)
        batch_rows: list[list[Gradient]] = []
        for half in loss_sums:
            for task, loss_sum, factor in zip(parts.tasks, half, factors, strict=True):
                row = gradients_of(tape, [loss_sum], [*shared, *own[task]], [factor])
                batch_rows.append(row[: len(shared)])
                sums.add(own[task], row[len(shared) :])
        rows = [plus_all(*pair) for pair in zip(rows, batch_rows, strict=True)] if rows else batch_rows
        sums.add_penalty(tape, penalty, model.trainable_variables, scale)
    sums.add(balancing.trainable_variables, [per_replica_share(g * scale) for g in slopes.by_state])
    stacked = jacobian(rows, shared, compact=not balancing.has_jacobian_state)
    blocks, values = replica_sum((stacked.blocks, sums.values))
    sums.replace(values)
    losses = slopes.losses if len(batches) == 1 else after(slopes.losses, replica_sum(tf.add_n(batch_losses)))
    return _Collected(outputs, losses, stacked._replace(blocks=blocks), sums, to_means)


def _combine(model, balancing, collected):
    """The tasks' weights (None of an aggregator), the gradients of the shared variables, and the Gramian [T, T]."""
    stacked, losses, scale = collected.jacobian, collected.losses, loss_scale(model)
    halves = 1 if collected.to_means is None else 2
    of_halves = stacked.gramian()
    products = tf.reshape(of_halves / scale**2, [halves, losses.shape[0]] * 2)
    gramian = tf.reduce_sum(products, [0, 2])
    if balancing.kind == "jacobian":
        with tf.control_dependencies([losses]):
            direction = balancing(stacked.matrix() / scale, losses=losses) * scale
        return None, stacked.unflatten(direction), gramian
    seen = gramian
    if collected.to_means is not None:
        even, odd = tf.unstack(collected.to_means)
        seen = products[0, :, 1] * even[:, None] * odd
    weights = task_weights(model, balancing, seen, losses)
    of_rows = tf.tile(weights, [halves])
    if balancing.is_robust:
        return weights, stacked.weighted_if_not_zero(of_rows, of_halves), gramian
    return weights, stacked.weighted(of_rows), gramian
