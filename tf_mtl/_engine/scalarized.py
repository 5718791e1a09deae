"""The update of scalarizers: one backward pass from the losses, weighted by the objective's derivatives."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.derivatives import Objective, derivatives_for, sum_of_transformed
from tf_mtl._engine.gradients import Gradient, after, gradients_of, loss_scale, plus_all
from tf_mtl._engine.replicas import per_replica_share, replica_sum
from tf_mtl._engine.update import Update
from tf_mtl._graph.partition import Partition
from tf_mtl.balancing import Balancing


def scalarized(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Minimise the scalar that a scalarizer makes of the losses."""
    return _minimised(model, balancing, batches, balancing)


def nothing_shared(
    model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition
) -> Update:
    """Let each task's own variables learn by its own loss: a gradient method where no shared variable is trained."""
    update = _minimised(model, balancing, batches, sum_of_transformed(balancing))
    tasks = len(parts.tasks)
    return update._replace(weights=tf.ones([tasks]), gramian=tf.zeros([tasks, tasks]))


def _minimised(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], objective: Objective):
    variables, scale = model.trainable_variables, loss_scale(model)
    outputs: list[dict[str, tf.Tensor]] = []
    gradients: list[Gradient] = []
    slopes_at = derivatives_for(model, balancing, batches, objective)
    for batch in batches:
        x = after(gradients, batch.x)
        with tf.GradientTape() as tape:
            outputs.append(batch.forward(model, x))
            losses, penalty = batch.losses_and_penalty(outputs[-1])
        slopes = slopes_at(losses)
        targets, factors = [losses, penalty], [slopes.by_losses * scale, scale]
        gradients = plus_all(gradients, gradients_of(tape, targets, variables, factors))
    by_state = [per_replica_share(gradient * scale) for gradient in slopes.by_state]
    gradients = replica_sum([*gradients, *by_state])
    pairs = zip(gradients, [*variables, *balancing.trainable_variables], strict=True)
    return Update(outputs, list(pairs), slopes.by_losses, slopes.losses, None)
