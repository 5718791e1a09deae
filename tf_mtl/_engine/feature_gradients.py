"""The update of gradient methods that balance the gradients of features, the tensors of the frontier.

One backward pass through each task's own part, and one through the trunk. A task's own variables get the gradient of
its own loss. Replicas exchange the Gramian alone, unless the method is an aggregator.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.derivatives import derivatives, sum_of_transformed
from tf_mtl._engine.gradients import GradientSums, gradients_of, loss_scale, trainable, values_of
from tf_mtl._engine.inner_products import inner_products
from tf_mtl._engine.replicas import per_replica_share, replica_sum
from tf_mtl._engine.task_weights import task_weights
from tf_mtl._engine.update import Update
from tf_mtl._graph.partition import Partition
from tf_mtl.balancing import Balancing


def by_features(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Balance the gradients of the frontier, and take the result through the trunk."""
    (batch,) = batches
    shared, tied = trainable(parts.shared), trainable(parts.tied)
    own = {task: trainable(parts.own[task]) for task in parts.tasks}
    trunk, _ = parts.submodels
    with tf.GradientTape() as trunk_tape:
        tensors = tf.nest.flatten(batch.forward(trunk, batch.x))
        frontier = tensors[: len(parts.frontier)]
        with tf.GradientTape(persistent=True) as heads_tape:
            heads_tape.watch(frontier)
            outputs = parts.outputs_of(tensors)
            losses, penalty = batch.losses_and_penalty(outputs)
    scale, sums = loss_scale(model), GradientSums()
    slopes = derivatives(model, balancing, replica_sum(losses), sum_of_transformed(balancing))
    losses = slopes.losses
    sums.add(balancing.trainable_variables, [per_replica_share(g * scale) for g in slopes.by_state])
    rows, tied_rows = [], []
    factors = tf.unstack(slopes.by_losses * scale * batch.slopes)
    for task, loss_sum, factor in zip(parts.tasks, batch.loss_sums, factors, strict=True):
        sources = [*frontier, *values_of(tied), *values_of(own[task])]
        gradients = heads_tape.gradient(loss_sum, sources, output_gradients=tf.cast(factor, loss_sum.dtype))
        ends = len(frontier), len(frontier) + len(tied)
        rows.append([_dense(g, z) for g, z in zip(gradients, frontier, strict=False)])
        tied_rows.append(gradients[ends[0] : ends[1]])
        sums.add(own[task], gradients[ends[1] :])
    times = tf.math.multiply_no_nan if balancing.is_robust else tf.multiply
    gramian = replica_sum(_gramian(rows)) / scale**2
    if balancing.kind == "jacobian":
        weights = None
        with tf.control_dependencies([losses]):
            direction = _aggregated(balancing, rows, losses, scale)
    else:
        weights = task_weights(model, balancing, gramian, losses)
        direction = [_weighted_sum(times, weights, column) for column in zip(*rows, strict=True)]
    of_tied = tf.unstack(tf.ones_like(losses) if weights is None else weights, num=len(rows))
    for factor, row in zip(of_tied, tied_rows, strict=True):
        sums.add(tied, [None if g is None else times(tf.convert_to_tensor(g), factor) for g in row])
    direction = [tf.cast(d, z.dtype) for d, z in zip(direction, frontier, strict=True)]
    sums.add(shared, gradients_of(trunk_tape, [*frontier, penalty], shared, [*direction, scale]))
    for variables in own.values():
        sums.add_penalty(heads_tape, penalty, variables, scale)
    sums.replace(replica_sum(sums.values))
    gradients = sums.pairs([*model.trainable_variables, *balancing.trainable_variables])
    return Update([outputs], gradients, weights, losses, gramian)


def _dense(gradient, like):
    if gradient is None:
        return tf.zeros(tf.shape(like), tf.float32)
    return tf.cast(gradient, tf.float32)


def _gramian(rows):
    """The inner products [T, T] of T gradients, each a list of tensors."""
    columns = [tf.stack([tf.reshape(g, [-1]) for g in column]) for column in zip(*rows, strict=True)]
    return tf.add_n([inner_products(column) for column in columns])


def _weighted_sum(times, weights, tensors):
    pairs = zip(tensors, tf.unstack(weights, num=len(tensors)), strict=True)
    return tf.add_n([times(gradient, weight) for gradient, weight in pairs])


def _aggregated(aggregator, rows, losses, scale):
    """Aggregate gradients of the features, whose rows lie on different replicas, and return this replica's part."""
    jacobian = tf.stack([tf.concat([tf.reshape(g, [-1]) for g in row], 0) for row in rows])
    width, start = tf.shape(jacobian)[1], 0
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        context = tf.distribute.get_replica_context()
        widths = context.all_gather(width[None], axis=0)
        start = tf.reduce_sum(widths[: context.replica_id_in_sync_group])
        jacobian = tf.ensure_shape(context.all_gather(jacobian, axis=1), [len(rows), None])
    direction = (aggregator(jacobian / scale, losses=losses) * scale)[start : start + width]
    parts = tf.split(direction, [tf.size(g) for g in rows[0]])
    return [tf.reshape(part, tf.shape(g)) for part, g in zip(parts, rows[0], strict=True)]
