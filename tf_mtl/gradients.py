"""From the tasks' losses to one gradient per variable: one function for each way of balancing.

Each function takes the model, its balancing method, and the micro-batches of this replica, of which there is one unless
gradients are accumulated. Their losses add up, over all replicas, to those of the global batch; the gradients returned
are those of the global batch, summed over the replicas in one call.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl import lookahead
from tf_mtl.balancing import Aggregator, Balancing, Scalarizer, Weighting
from tf_mtl.batch_losses import BatchLosses
from tf_mtl.jacobian import jacobian
from tf_mtl.partition import Partition
from tf_mtl.replicas import replica_sum, share


class Update(NamedTuple):
    """What one training step found.

    Attributes:
        outputs: The model's outputs by task, of each micro-batch.
        gradients: Pairs of a gradient and its variable.
        weights: The weight of each task, [T]; None where the method gives a direction instead.
        gramian: The inner products [T, T] of the gradients that were balanced; None where only losses were.
    """

    outputs: list[dict[str, tf.Tensor]]
    gradients: list[tuple[tf.Tensor, keras.Variable]]
    weights: tf.Tensor | None
    gramian: tf.Tensor | None


def choose(balancing: Balancing, gradients: str, parts: Partition, accumulate: int) -> Callable[..., Update]:
    """Return the function of this module that serves a balancing method.

    Raises:
        ValueError: for an unknown value of `gradients`, a gradient method where nothing is shared, or micro-batches
            that the method cannot do with.
    """
    name = type(balancing).__name__
    if not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(f"`accumulate` must be a whole number of micro-batches, at least 1, received {accumulate!r}.")
    if accumulate > 1 and getattr(balancing, "needs_validation", False):
        raise ValueError(
            f"accumulate={accumulate} cannot be had with {name}, which looks ahead from a whole batch. Use 1."
        )
    ways = {"parameters": by_parameters, "features": by_features}
    if gradients not in ways:
        raise ValueError(f"`gradients` must be 'parameters' or 'features', received {gradients!r}.")
    if isinstance(balancing, Scalarizer):
        return scalarized
    parts.check_shared(name)
    if gradients == "features" and accumulate > 1:
        raise ValueError(
            f"accumulate={accumulate} cannot be had with gradients='features': the features of the whole batch are "
            "balanced before any goes back through the trunk. Use gradients='parameters', or accumulate=1."
        )
    if gradients == "features" and (balancing.halves or balancing.keeps_rows):
        raise ValueError(
            f"gradients='features' cannot be had with {name}: each row of a batch has features of "
            "its own, which cannot be compared with those of other rows or steps. Use gradients='parameters'."
        )
    if gradients == "features" and (parts.nested or not parts.frontier):
        inside = f": {parts.nested[0].path} lies in a nested model that several tasks read" if parts.nested else ""
        raise ValueError(
            "gradients='features' needs tensors between the shared layers and the layers of the tasks' own, which this "
            f"graph does not have{inside}. Use gradients='parameters'."
        )
    return ways[gradients]


def input_shape(balancing: Balancing, gradients: str, parts: Partition) -> tuple[int | None, ...]:
    """Return the shape of what a balancing method is called with: losses, Gramian or Jacobian."""
    size = len(parts.tasks)
    if isinstance(balancing, Scalarizer):
        return (size,)
    if isinstance(balancing, Weighting):
        return (size, size)
    width = sum(math.prod(v.shape) for v in _trainable(parts.shared))
    return (size, width if gradients == "parameters" else None)


def scalarized(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Balance by a scalarizer: one backward pass from the losses, weighted by the objective's derivatives."""
    variables, scale = model.trainable_variables, _loss_scale(model)
    outputs, found, derivatives = [], None, _ahead(model, balancing, batches, balancing)
    for batch in batches:
        x = _after(found, batch.x)
        with tf.GradientTape() as tape:
            outputs.append(model(x, training=True))
            losses, penalty = batch(outputs[-1])
        if derivatives is None:
            derivatives = _derivatives(balancing, replica_sum(losses), balancing)
        found = _plus(found, _gradient(tape, [losses, penalty], variables, [derivatives.by_losses * scale, scale]))
    of_state = [share(gradient * scale) for gradient in derivatives.of_state]
    gradients = replica_sum([*found, *of_state])
    pairs = zip(gradients, [*variables, *balancing.trainable_variables], strict=True)
    return Update(outputs, list(pairs), derivatives.by_losses, None)


def by_parameters(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Balance the gradients of the shared variables: one backward pass per task, summed over replicas first.

    For a method that wants two halves of the batch the passes are two per task, and the whole batch's gradients the
    sums of theirs. A task's own variables get the gradient of its own loss.
    """
    shared, scale = _trainable(parts.shared), _loss_scale(model)
    own = {task: _trainable(parts.own[task]) for task in parts.tasks}
    outputs, rows, totals, gradients = [], None, [], {}
    derivatives = _ahead(model, balancing, batches, _sum_of_transformed(balancing))
    for batch in batches:
        x = _after(rows, batch.x)
        with tf.GradientTape(persistent=True) as tape:
            outputs.append(model(x, training=True))
            losses, penalty = batch(outputs[-1])
            pieces, to_means = batch.halves(outputs[-1]) if balancing.halves else (losses[None], None)
            pieces = [tf.unstack(piece) for piece in tf.unstack(pieces)]
        totals.append(losses)
        if derivatives is None:
            derivatives = _derivatives(balancing, replica_sum(losses), _sum_of_transformed(balancing))
        factors = tf.unstack(derivatives.by_losses * scale)
        found = []
        for piece in pieces:
            for task, loss, factor in zip(parts.tasks, piece, factors, strict=True):
                row = _gradient(tape, [loss], [*shared, *own[task]], [factor])
                found.append(row[: len(shared)])
                _add(gradients, own[task], row[len(shared) :])
        rows = found if rows is None else [_plus(*pair) for pair in zip(rows, found, strict=True)]
        _add_penalty(gradients, tape, penalty, model.trainable_variables, scale)
    _add(gradients, balancing.trainable_variables, [share(g * scale) for g in derivatives.of_state])
    stacked = jacobian(rows, shared, compact=not balancing.keeps_rows)
    blocks, found = replica_sum((stacked.blocks, list(gradients.values())))
    stacked, gradients = stacked._replace(blocks=blocks), dict(zip(gradients, found, strict=True))
    losses = derivatives.losses if len(batches) == 1 else replica_sum(tf.add_n(totals))
    products = tf.reshape(stacked.gramian() / scale**2, [len(pieces), len(parts.tasks)] * 2)
    whole = tf.reduce_sum(products, [0, 2])
    if isinstance(balancing, Aggregator):
        weights = None
        direction = stacked.unflat([balancing(stacked.matrix() / scale, losses=losses) * scale])
    else:
        seen = products[0, :, 1] * to_means[0][:, None] * to_means[1] if balancing.halves else whole
        weights = balancing(seen, losses=losses)
        direction = stacked.weighted(tf.tile(weights, [len(pieces)]))
    _add(gradients, shared, direction)
    return Update(outputs, _pairs(gradients, model, balancing), weights, whole)


def by_features(model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], parts: Partition) -> Update:
    """Balance the gradients of the frontier: one backward pass through each task's own part, one through the trunk.

    A task's own variables get the gradient of its own loss. What the method sees over replicas is the Gramian alone,
    unless it is an aggregator.
    """
    (batch,) = batches
    shared, tied = _trainable(parts.shared), _trainable(parts.tied)
    own = {task: _trainable(parts.own[task]) for task in parts.tasks}
    trunk, heads = parts.halves
    with tf.GradientTape() as trunk_tape:
        tensors = tf.nest.flatten(trunk(batch.x, training=True))
        frontier = tensors[: len(parts.frontier)]
        with tf.GradientTape(persistent=True) as heads_tape:
            heads_tape.watch(frontier)
            outputs = heads(tensors, training=True)
            outputs |= {task: tensors[place] for task, place in parts.shared_outputs.items()}
            losses, penalty = batch(outputs)
            by_task = tf.unstack(losses)
    scale, rows, tied_rows, gradients = _loss_scale(model), [], [], {}
    derivatives = _derivatives(balancing, replica_sum(losses), _sum_of_transformed(balancing))
    losses = derivatives.losses
    _add(gradients, balancing.trainable_variables, [share(g * scale) for g in derivatives.of_state])
    for task, loss, factor in zip(parts.tasks, by_task, tf.unstack(derivatives.by_losses * scale), strict=True):
        sources = [*frontier, *_values(tied), *_values(own[task])]
        found = heads_tape.gradient(loss, sources, output_gradients=tf.cast(factor, loss.dtype))
        ends = len(frontier), len(frontier) + len(tied)
        rows.append([_dense(g, z) for g, z in zip(found, frontier, strict=False)])
        tied_rows.append(found[ends[0] : ends[1]])
        _add(gradients, own[task], found[ends[1] :])
    products = replica_sum(_gramian(rows)) / scale**2
    if isinstance(balancing, Aggregator):
        weights = None
        direction = _aggregated(balancing, rows, losses, scale)
    else:
        weights = balancing(products, losses=losses)
        direction = [_weighted_sum(weights, column) for column in zip(*rows, strict=True)]
    of_tied = tf.unstack(tf.ones_like(losses) if weights is None else weights, num=len(rows))
    for factor, row in zip(of_tied, tied_rows, strict=True):
        _add(gradients, tied, [None if g is None else factor * g for g in row])
    direction = [tf.cast(d, z.dtype) for d, z in zip(direction, frontier, strict=True)]
    _add(gradients, shared, _gradient(trunk_tape, [*frontier, penalty], shared, [*direction, scale]))
    for variables in own.values():
        _add_penalty(gradients, heads_tape, penalty, variables, scale)
    gradients = dict(zip(gradients, replica_sum(list(gradients.values())), strict=True))
    return Update([outputs], _pairs(gradients, model, balancing), weights, products)


def shared_gramian(model: keras.Model, x: Any, losses_of: Callable[..., tf.Tensor], parts: Partition) -> tf.Tensor:
    """Return the inner products [T, T] of the tasks' gradients of the shared variables, in inference mode."""
    shared = _trainable(parts.shared)
    with tf.GradientTape(persistent=True) as tape:
        losses = tf.unstack(losses_of(model(x, training=False)))
    return jacobian([tape.gradient(loss, _values(shared)) for loss in losses], shared).gramian()


class _Derivatives(NamedTuple):
    """The global losses, [T]; an objective's derivatives by them, [T], and by the method's own variables."""

    losses: tf.Tensor
    by_losses: tf.Tensor
    of_state: list[tf.Tensor]


def _derivatives(balancing, losses, objective_of):
    state = _values(balancing.trainable_variables)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        objective = objective_of(losses)
    by_losses, *of_state = tape.gradient(objective, [losses, *state])
    return _Derivatives(losses, by_losses, of_state)


def _ahead(model, balancing, batches, objective_of):
    """The derivatives before the first of several micro-batches; None for one batch, whose pass gives them anyway."""
    if len(batches) == 1:
        return None
    lookahead.settle(model, batches)
    if balancing.linear:
        losses = tf.zeros([len(balancing.tasks)])
    else:
        losses = lookahead.losses(model, batches, lookahead.seeds(model))
    return _derivatives(balancing, losses, objective_of)


def _sum_of_transformed(balancing):
    """The objective whose derivatives are the factors of the tasks' gradients, and the gradients of own variables."""
    return lambda losses: tf.reduce_sum(balancing.transform(losses))


def _after(found, x):
    """The inputs, once earlier gradients are there, so that the activations of one micro-batch live at a time."""
    if found is None:
        return x
    with tf.control_dependencies([g for g in tf.nest.flatten(found, expand_composites=True) if g is not None]):
        return tf.nest.map_structure(tf.identity, x, expand_composites=True)


def _gramian(rows):
    """The inner products [T, T] of T gradients, each a list of tensors."""
    columns = [tf.stack([tf.reshape(g, [-1]) for g in column]) for column in zip(*rows, strict=True)]
    return tf.add_n([tf.matmul(column, column, transpose_b=True) for column in columns])


def _loss_scale(model):
    """The factor that the optimizer expects on every gradient, and divides by: above 1 for float16."""
    return model.optimizer.scale_loss(1.0)


def _weighted_sum(weights, tensors):
    return tf.add_n([w * g for w, g in zip(tf.unstack(weights, num=len(tensors)), tensors, strict=True)])


def _aggregated(aggregator, rows, losses, scale):
    """Aggregate gradients of the features, whose rows lie on different replicas, and cut out this replica's part."""
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


def _gradient(tape, targets, variables, output_gradients):
    """Return the gradients of targets, of which some may be None, with respect to variables."""
    kept = [(t, tf.cast(g, t.dtype)) for t, g in zip(targets, output_gradients, strict=True) if t is not None]
    targets, output_gradients = zip(*kept, strict=True)
    return tape.gradient(list(targets), _values(variables), output_gradients=list(output_gradients))


def _values(variables):
    return [v.value for v in variables]


def _trainable(variables):
    return [v for v in variables if v.trainable]


def _dense(gradient, like):
    if gradient is None:
        return tf.zeros(tf.shape(like), tf.float32)
    return tf.cast(gradient, tf.float32)


def _add(gradients, variables, found):
    """Add gradients to what a dict holds for their variables."""
    for variable, gradient in zip(variables, found, strict=True):
        if gradient is not None:
            gradients[id(variable)] = _plus([gradients.get(id(variable))], [gradient])[0]


def _plus(before, found):
    """The sums of two lists of gradients, either of which may be None; of sparse ones the rows of both."""
    if before is None:
        return found
    sums = []
    for one, other in zip(before, found, strict=True):
        if one is None or other is None:
            sums.append(other if one is None else one)
        elif isinstance(one, tf.IndexedSlices) and isinstance(other, tf.IndexedSlices):
            values, indices = tf.concat([one.values, other.values], 0), tf.concat([one.indices, other.indices], 0)
            sums.append(tf.IndexedSlices(values, indices, one.dense_shape))
        else:
            sums.append(tf.convert_to_tensor(one) + tf.convert_to_tensor(other))
    return sums


def _add_penalty(gradients, tape, penalty, variables, scale):
    if penalty is not None and variables:
        _add(gradients, variables, _gradient(tape, [penalty], variables, [scale]))


def _pairs(gradients, model, balancing):
    return [(gradients.get(id(v)), v) for v in [*model.trainable_variables, *balancing.trainable_variables]]
