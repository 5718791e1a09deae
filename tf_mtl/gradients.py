"""From the tasks' losses to one gradient per variable: one function for each way of balancing.

Each function takes the model, its balancing method, inputs, and `losses_of(outputs)`, which returns this
replica's shares of the tasks' losses, [T], and of the penalties, a scalar or None. The shares of all replicas add up
to the losses of the global batch, and so do the gradients returned here: the optimizer sums them.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tf_mtl.balancing import Aggregator, Balancing, Scalarizer, Weighting
from tf_mtl.partition import Partition

LossesOf = Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor | None]]


class Update(NamedTuple):
    """What one training step found.

    Attributes:
        outputs: The model's outputs by task.
        gradients: Pairs of a gradient and its variable, this replica's share.
        weights: The weight of each task, [T]; None where the method gives a direction instead.
    """

    outputs: dict[str, tf.Tensor]
    gradients: list[tuple[tf.Tensor, keras.Variable]]
    weights: tf.Tensor | None


def replica_sum(values: Any) -> Any:
    """Sum tensors over the replicas, in the replica context."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def share(total: tf.Tensor) -> tf.Tensor:
    """Return this replica's share of a value that is the same on all: the optimizer adds the shares up."""
    return total / tf.distribute.get_strategy().num_replicas_in_sync


def choose(balancing: Balancing, gradients: str, parts: Partition) -> Callable[..., Update]:
    """Return the function of this module that serves a balancing method.

    Raises:
        ValueError: for an unknown value of `gradients`, or a gradient method where nothing is shared.
    """
    ways = {"parameters": by_parameters, "features": by_features}
    if gradients not in ways:
        raise ValueError(f"`gradients` must be 'parameters' or 'features', received {gradients!r}.")
    if isinstance(balancing, Scalarizer):
        return scalarized
    parts.check_shared(type(balancing).__name__)
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


def scalarized(model: keras.Model, balancing: Balancing, x: Any, losses_of: LossesOf, parts: Partition) -> Update:
    """Balance by a scalarizer: one backward pass from the losses, weighted by the objective's derivatives."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        losses, penalty = losses_of(outputs)
    state = balancing.trainable_variables
    with tf.GradientTape() as objective_tape:
        total = replica_sum(losses)
        objective_tape.watch(total)
        objective = balancing(total)
    weights, *of_state = objective_tape.gradient(objective, [total, *_values(state)])
    scale = _loss_scale(model)
    gradients = _gradient(tape, [losses, penalty], variables, [weights * scale, scale])
    gradients += [share(gradient * scale) for gradient in of_state]
    return Update(outputs, list(zip(gradients, [*variables, *state], strict=True)), weights)


def by_parameters(model: keras.Model, balancing: Balancing, x: Any, losses_of: LossesOf, parts: Partition) -> Update:
    """Balance the gradients of the shared variables: one backward pass per task, summed over replicas first.

    A task's own variables get the gradient of its own loss.
    """
    shared = _trainable(parts.shared)
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(x, training=True)
        losses, penalty = losses_of(outputs)
        by_task = tf.unstack(losses)
    scale, gradients, rows = _loss_scale(model), {}, []
    for task, loss in zip(parts.tasks, by_task, strict=True):
        own = _trainable(parts.own[task])
        found = _gradient(tape, [loss], [*shared, *own], [scale])
        rows.append(_flat(found[: len(shared)], shared))
        _add(gradients, own, found[len(shared) :])
    rows, losses = replica_sum(rows), replica_sum(losses)
    if isinstance(balancing, Aggregator):
        weights = None
        direction = balancing(tf.stack(rows) / scale, losses=losses) * scale
    else:
        weights = balancing(gramian([[row] for row in rows]) / scale**2, losses=losses)
        direction = _weighted_sum(weights, rows)
    _add(gradients, shared, _unflat(share(direction), shared))
    if penalty is not None:
        _add(gradients, model.trainable_variables, _gradient(tape, [penalty], model.trainable_variables, [scale]))
    return Update(outputs, _pairs(gradients, model), weights)


def by_features(model: keras.Model, balancing: Balancing, x: Any, losses_of: LossesOf, parts: Partition) -> Update:
    """Balance the gradients of the frontier: one backward pass through each task's own part, one through the trunk.

    A task's own variables get the gradient of its own loss. Over replicas only the Gramian is summed.
    """
    shared, tied = _trainable(parts.shared), _trainable(parts.tied)
    own = {task: _trainable(parts.own[task]) for task in parts.tasks}
    trunk, heads = parts.halves
    with tf.GradientTape() as trunk_tape:
        tensors = tf.nest.flatten(trunk(x, training=True))
        frontier = tensors[: len(parts.frontier)]
        with tf.GradientTape(persistent=True) as heads_tape:
            heads_tape.watch(frontier)
            outputs = heads(tensors, training=True)
            outputs |= {task: tensors[place] for task, place in parts.shared_outputs.items()}
            losses, penalty = losses_of(outputs)
            by_task = tf.unstack(losses)
    scale, gradients, rows, tied_rows = _loss_scale(model), {}, [], []
    for task, loss in zip(parts.tasks, by_task, strict=True):
        sources = [*frontier, *_values(tied), *_values(own[task])]
        found = heads_tape.gradient(loss, sources, output_gradients=tf.cast(scale, loss.dtype))
        ends = len(frontier), len(frontier) + len(tied)
        rows.append([_dense(g, z) for g, z in zip(found, frontier, strict=False)])
        tied_rows.append(found[ends[0] : ends[1]])
        _add(gradients, own[task], found[ends[1] :])
    losses = replica_sum(losses)
    if isinstance(balancing, Aggregator):
        weights = None
        direction = _aggregated(balancing, rows, losses, scale)
    else:
        weights = balancing(replica_sum(gramian(rows)) / scale**2, losses=losses)
        direction = [_weighted_sum(weights, column) for column in zip(*rows, strict=True)]
    factors = tf.unstack(tf.ones_like(losses) if weights is None else weights, num=len(rows))
    for factor, row in zip(factors, tied_rows, strict=True):
        _add(gradients, tied, [None if g is None else factor * g for g in row])
    direction = [tf.cast(d, z.dtype) for d, z in zip(direction, frontier, strict=True)]
    _add(gradients, shared, _gradient(trunk_tape, [*frontier, penalty], shared, [*direction, scale]))
    if penalty is not None:
        for variables in own.values():
            _add(gradients, variables, _gradient(heads_tape, [penalty], variables, [scale]))
    return Update(outputs, _pairs(gradients, model), weights)


def gramian(rows: Sequence[Sequence[tf.Tensor]]) -> tf.Tensor:
    """Return the inner products [T, T] of T gradients, each a list of tensors."""
    products = {
        (i, j): tf.add_n([tf.reduce_sum(a * b) for a, b in zip(rows[i], rows[j], strict=True)])
        for i in range(len(rows))
        for j in range(i, len(rows))
    }
    return tf.stack([tf.stack([products[min(i, j), max(i, j)] for j in range(len(rows))]) for i in range(len(rows))])


def shared_gramian(model: keras.Model, x: Any, losses_of: Callable[..., tf.Tensor], parts: Partition) -> tf.Tensor:
    """Return the inner products [T, T] of the tasks' gradients of the shared variables, in inference mode."""
    shared = _trainable(parts.shared)
    with tf.GradientTape(persistent=True) as tape:
        losses = tf.unstack(losses_of(model(x, training=False)))
    return gramian([[_flat(tape.gradient(loss, _values(shared)), shared)] for loss in losses])


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
        jacobian = context.all_gather(jacobian, axis=1)
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


def _flat(gradients, variables):
    """One vector of all gradients, zeros where a variable has none."""
    return tf.concat([tf.reshape(_dense(g, v), [-1]) for g, v in zip(gradients, variables, strict=True)], 0)


def _unflat(vector, variables):
    sizes = [math.prod(v.shape) for v in variables]
    return [tf.reshape(part, v.shape) for part, v in zip(tf.split(vector, sizes), variables, strict=True)]


def _add(gradients, variables, found):
    """Add gradients to what a dict holds for their variables, keeping sparse ones sparse while they are alone."""
    for variable, gradient in zip(variables, found, strict=True):
        if gradient is not None:
            before = gradients.get(id(variable))
            gradients[id(variable)] = gradient if before is None else before + tf.convert_to_tensor(gradient)


def _pairs(gradients, model):
    return [(gradients.get(id(v)), v) for v in model.trainable_variables]
