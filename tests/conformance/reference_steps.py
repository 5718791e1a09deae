"""Recorded training steps with SGD, checked against gradient tapes and a fresh copy of the balancing method."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

RATE, MOMENTUM = 0.01, 0.9


def sgd():
    return keras.optimizers.SGD(RATE, momentum=MOMENTUM)


class Recorder(keras.callbacks.Callback):
    """Copies all variables before the first step and after each step, with seeds and the method's state.

    A copy is a dict {id: array}.
    """

    def on_train_begin(self, logs=None):
        self.snapshots = [self._snapshot()]

    def on_train_batch_end(self, batch, logs=None):
        self.snapshots.append(self._snapshot())

    def _snapshot(self):
        return {id(v): v.numpy() for v in [*self.model.variables, *self.model.balancing.variables]}


class Gradients(NamedTuple):
    """The gradients of the shared variables, of each task's own variables, and of the method's trained variables."""

    shared: list
    own: dict
    method: list


def fresh_copy(method, tasks, width, owner):
    """A copy of a method in its initial state, bound to a Jacobian of the given width."""
    copy = type(method).from_config(method.get_config())
    shape = {"losses": (len(tasks),), "gramian": (len(tasks), len(tasks)), "jacobian": (len(tasks), width)}[copy.kind]
    copy.bind(tasks, shape, owner)
    return copy


def check_steps(model, snapshots, data, validation=(), tolerance=1e-4, given_state=False, **options):
    """Check the updates of all variables, with momentum and missing labels, and the method's state.

    Args:
        model: The trained model; its weights are restored at the end.
        snapshots: The snapshots of a `Recorder`.
        data: The batches of the first steps.
        validation: One batch per step, for methods that learn from validation data.
        tolerance: The allowed error, relative to the largest entry of the step's updates or of a state variable.
        given_state: Whether to take the method's state from the snapshots instead of checking it. In 16 bits, what a
            method learns from small differences of losses is noise.
        options: See `gradients_of`.
    """
    final_values = {id(v): v.numpy() for v in model.variables}
    parts = mtl.partition(model)
    shared = trained(parts.shared)
    method = fresh_copy(model.balancing, parts.tasks, sum(v.numpy().size for v in shared), model)
    copies = list(zip(model.balancing.variables, method.variables, strict=True))
    momenta = {}
    for step, batch in enumerate(data):
        before, after = snapshots[step : step + 2]
        assign(model.variables, before)
        for variable, copy in copies:
            if copy.trainable:
                copy.assign(before[id(variable)])
            elif given_state:  # a method learns from the validation batch before it is called
                copy.assign((after if method.needs_validation else before)[id(variable)])
        if method.needs_validation and not given_state:
            learn_from_validation(model, method, batch, validation[step])
        gradients = gradients_of(model, method, batch, **options)
        if method.observes_update and not given_state:
            assign(model.trainable_variables, after)
            method.observe(tf.stack(losses_of(model(batch[0], training=True), batch)))

        labelled = {task: bool(tf.reduce_any(batch[2][task] > 0)) for task in parts.tasks}
        expected = [(v, g, True) for v, g in zip(shared, gradients.shared, strict=True)]
        for task, own in gradients.own.items():
            expected += [(v, g, labelled[task]) for v, g in zip(trained(parts.own[task]), own, strict=True)]
        method_variables = [variable for variable, copy in copies if copy.trainable]
        each_has_label = np.array(list(labelled.values()))
        expected += [(v, g, each_has_label) for v, g in zip(method_variables, gradients.method, strict=True)]
        updates = []
        for v, gradient, has_label in expected:
            old = momenta.get(id(v), 0 * before[id(v)])
            momenta[id(v)] = np.where(has_label, MOMENTUM * old - RATE * np.array(gradient), old)
            updates.append((v, np.where(has_label, momenta[id(v)], 0)))
            unlabelled = ~np.broadcast_to(has_label, old.shape)
            np.testing.assert_array_equal(after[id(v)][unlabelled], before[id(v)][unlabelled], err_msg=v.path)
        largest = max(np.abs(update).max() for _, update in updates)
        for v, update in updates:
            actual = (after[id(v)] - before[id(v)]) / largest
            np.testing.assert_allclose(actual, update / largest, atol=tolerance, err_msg=f"{step}: {v.path}")
        for variable, copy in copies:
            if not copy.trainable and not given_state:
                scale = max(np.abs(copy.numpy()).max(), 1e-6)
                actual = after[id(variable)] / scale
                np.testing.assert_allclose(actual, copy.numpy() / scale, atol=tolerance, err_msg=variable.path)
    assign(model.variables, final_values)


def trained(variables):
    return [v for v in variables if v.trainable]


def assign(variables, values):
    for v in variables:
        v.assign(values[id(v)])


def losses_of(outputs, batch, rows=None):
    """Each task's mean squared error over its labelled rows, or over those where `rows` is 1."""
    _, y, weight = batch
    losses = []
    for task, output in outputs.items():
        w = weight[task] if rows is None else weight[task] * rows
        error = tf.reshape(output, [-1]) - tf.where(weight[task] > 0, y[task], 0)
        losses.append(tf.math.divide_no_nan(tf.reduce_sum(w * error**2), tf.reduce_sum(w)))
    return losses


def gradients_of(model, method, batch, features=False):
    """Return the gradients that a step must use; call the method, which updates its state.

    Args:
        model: The model.
        method: The method, called as the training step must call it.
        batch: Inputs, labels and weights.
        features: Whether to balance the gradients of the frontier instead of those of the shared variables.
    """
    parts = mtl.partition(model)
    shared = [v.value for v in trained(parts.shared)]
    own = {task: [v.value for v in trained(parts.own[task])] for task in parts.tasks}
    is_odd = tf.cast(tf.range(len(batch[0])) % 2, tf.float32)
    frontier: list[tf.Tensor] = []
    with tf.GradientTape(persistent=True) as tape:
        if features:
            trunk, heads = parts.submodels
            trunk_outputs = tf.nest.flatten(trunk(batch[0], training=True))
            frontier = trunk_outputs[: len(parts.frontier)]
        with tf.GradientTape(persistent=True) as heads_tape:
            heads_tape.watch(frontier)
            outputs = heads(trunk_outputs, training=True) if features else model(batch[0], training=True)
            losses = losses_of(outputs, batch)
            losses_of_halves = [losses_of(outputs, batch, rows) for rows in (1 - is_odd, is_odd)]
        penalty = tf.add_n([tf.zeros([]), *model.losses])
    balanced, balanced_tape = (frontier, heads_tape) if features else (shared, tape)

    def jacobian(values):
        rows = []
        for value in values:
            dense = balanced_tape.gradient(value, balanced, unconnected_gradients="zero")
            flat = [tf.reshape(tf.cast(tf.convert_to_tensor(g), tf.float32), [-1]) for g in dense]
            rows.append(tf.concat([tf.zeros([0]), *flat], 0))
        return tf.stack(rows)

    rows, global_losses = jacobian(losses), tf.stack(losses)
    with tf.GradientTape() as method_tape:
        method_tape.watch(global_losses)
        is_scalarizer = method.kind == "losses"
        objective = method(global_losses) if is_scalarizer else tf.reduce_sum(method.transform(global_losses))
    factors, *by_method = method_tape.gradient(
        objective, [global_losses, *(v.value for v in method.trainable_variables)]
    )
    rows = factors[:, None] * rows
    weights = tf.ones_like(factors)
    if is_scalarizer:
        direction = tf.reduce_sum(rows, 0)
    elif method.kind == "jacobian":
        direction = method(rows, losses=global_losses)
    else:
        first, second = (
            [jacobian(losses_of_half) for losses_of_half in losses_of_halves]
            if method.needs_half_batches
            else [rows] * 2
        )
        weights = method(tf.matmul(first, second, transpose_b=True), losses=global_losses)
        direction = tf.linalg.matvec(rows, weights, transpose_a=True)
    pieces = tf.split(direction, [int(tf.size(z)) for z in balanced]) if balanced else []
    direction = [tf.cast(tf.reshape(piece, z.shape), z.dtype) for piece, z in zip(pieces, balanced, strict=True)]
    if features:
        direction = tape.gradient(frontier, shared, output_gradients=direction, unconnected_gradients="zero")
        tied = {id(v) for v in parts.tied}
        for i, v in enumerate(trained(parts.shared)):
            if id(v) in tied:  # what the tasks' own parts contribute, beyond the frontier
                direct = [heads_tape.gradient(loss, v.value, unconnected_gradients="zero") for loss in losses]
                direction[i] += tf.tensordot(weights * factors, tf.stack(direct), 1)

    def with_penalty(gradients, variables):
        penalty_gradients = tape.gradient(penalty, variables, unconnected_gradients="zero")
        return [
            tf.convert_to_tensor(g) + tf.convert_to_tensor(p) for g, p in zip(gradients, penalty_gradients, strict=True)
        ]

    own_gradients = {}
    for task, loss, factor in zip(parts.tasks, losses, tf.unstack(factors), strict=True):
        gradients = tape.gradient(loss, own[task], unconnected_gradients="zero")
        own_gradients[task] = with_penalty([factor * tf.convert_to_tensor(g) for g in gradients], own[task])
    return Gradients(with_penalty(direction, shared), own_gradients, by_method)


def learn_from_validation(model, method, batch, validation):
    """Update Auto-Lambda's weights by its formula."""
    variables = model.trainable_variables
    start = [v.numpy() for v in variables]

    def losses_and_gradient(values, data, weights):
        """Return the losses for these values of the variables, and the gradient of their weighted sum."""
        for v, value in zip(variables, values, strict=True):
            v.assign(value)
        with tf.GradientTape() as tape:
            losses = tf.stack(losses_of(model(data[0], training=True), data))
            total = tf.reduce_sum(weights * losses)
        gradients = tape.gradient(total, [v.value for v in variables], unconnected_gradients="zero")
        return losses.numpy(), [g.numpy() for g in gradients]

    def shifted(length):
        return [value + length * g for value, g in zip(start, direction, strict=True)]

    ones = np.ones(len(method.tasks), "float32")
    gradient = losses_and_gradient(start, batch, method.loss_weights.numpy())[1]
    lookahead = [value - RATE * g for value, g in zip(start, gradient, strict=True)]
    direction = losses_and_gradient(lookahead, validation, ones)[1]
    length = 0.01 / np.sqrt(sum((g**2).sum() for g in direction))
    above = losses_and_gradient(shifted(length), batch, ones)[0]
    below = losses_and_gradient(shifted(-length), batch, ones)[0]
    losses_and_gradient(start, batch, ones)  # restores the variables
    method.learn(tf.constant(-RATE * (above - below) / (2 * length)))
