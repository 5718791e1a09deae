"""Training steps with SGD as `fit` took them, and as they must be: gradient tapes and a fresh copy of the method."""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

import tf_mtl as mtl

RATE, MOMENTUM = 0.01, 0.9


def sgd():
    return keras.optimizers.SGD(RATE, momentum=MOMENTUM)


class Recorder(keras.callbacks.Callback):
    """Copies all variables, seeds and the method's state among them, before the first step and after each.

    As {id: array}.
    """

    def on_train_begin(self, logs=None):
        self.values = [self._now()]

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(self._now())

    def _now(self):
        return {id(v): v.numpy() for v in [*self.model.variables, *self.model.balancing.variables]}


class Gradients(NamedTuple):
    """The gradients of the shared variables, of each task's own variables, and of the method's trained variables."""

    shared: list
    own: dict
    by_method: list


def fresh(method, tasks, width, owner):
    """An equal method without a past, for a Jacobian of some width."""
    copy = type(method).from_config(method.get_config())
    shape = {"losses": (len(tasks),), "gramian": (len(tasks), len(tasks)), "jacobian": (len(tasks), width)}[copy.kind]
    copy.bind(tasks, shape, owner)
    return copy


def check_steps(made, recorded, data, validation=(), tolerance=1e-4, given_state=False, **options):
    """Check recorded steps: variables, those without labels, momentum, and the method's state.

    Args:
        made: The trained model; its weights are the same afterwards.
        recorded: A `Recorder`'s values.
        data: The batches of the first steps.
        validation: As many batches, for methods that need them.
        tolerance: Of a step's entries, relative to the step's largest.
        given_state: Whether the method's state is taken from the record, and not checked: with 16 bits, what a method
            learns from small differences of losses is noise.
        options: See `gradients_of`.
    """
    at_the_end = {id(v): v.numpy() for v in made.variables}
    parts = mtl.partition(made)
    shared = trained(parts.shared)
    method = fresh(made.balancing, parts.tasks, sum(v.numpy().size for v in shared), made)
    copies = list(zip(made.balancing.variables, method.variables, strict=True))
    speeds = {}
    for number, batch in enumerate(data):
        before, after = recorded[number : number + 2]
        assign(made.variables, before)
        for variable, copy in copies:
            if copy.trainable:
                copy.assign(before[id(variable)])
            elif given_state:  # what it learns from a validation batch, it learns before its call
                copy.assign((after if method.needs_validation else before)[id(variable)])
        if method.needs_validation and not given_state:
            learn_from_validation(made, method, batch, validation[number])
        gradients = gradients_of(made, method, batch, **options)
        if method.observes_update and not given_state:
            assign(made.trainable_variables, after)
            method.observe(tf.stack(losses_of(made(batch[0], training=True), batch)))

        labelled = {task: bool(tf.reduce_any(batch[2][task] > 0)) for task in parts.tasks}
        expected = [(v, g, True) for v, g in zip(shared, gradients.shared, strict=True)]
        for task, own in gradients.own.items():
            expected += [(v, g, labelled[task]) for v, g in zip(trained(parts.own[task]), own, strict=True)]
        of_method = [variable for variable, copy in copies if copy.trainable]
        each = np.array(list(labelled.values()))
        expected += [(v, g, each) for v, g in zip(of_method, gradients.by_method, strict=True)]
        steps = []
        for v, gradient, has_label in expected:
            old = speeds.get(id(v), 0 * before[id(v)])
            speeds[id(v)] = np.where(has_label, MOMENTUM * old - RATE * np.array(gradient), old)
            steps.append((v, np.where(has_label, speeds[id(v)], 0)))
            unlabelled = ~np.broadcast_to(has_label, old.shape)
            np.testing.assert_array_equal(after[id(v)][unlabelled], before[id(v)][unlabelled], err_msg=v.path)
        largest = max(np.abs(step).max() for _, step in steps)
        for v, step in steps:
            found = (after[id(v)] - before[id(v)]) / largest
            np.testing.assert_allclose(found, step / largest, atol=tolerance, err_msg=f"{number}: {v.path}")
        for variable, copy in copies:
            if not copy.trainable and not given_state:
                scale = max(np.abs(copy.numpy()).max(), 1e-6)
                found = after[id(variable)] / scale
                np.testing.assert_allclose(found, copy.numpy() / scale, atol=tolerance, err_msg=variable.path)
    assign(made.variables, at_the_end)


def trained(variables):
    return [v for v in variables if v.trainable]


def assign(variables, values):
    for v in variables:
        v.assign(values[id(v)])


def losses_of(outputs, batch, rows=None):
    """The mean squared error of each task over the labelled rows, of all or of some."""
    _, y, weight = batch
    losses = []
    for task, output in outputs.items():
        w = weight[task] if rows is None else weight[task] * rows
        error = tf.reshape(output, [-1]) - tf.where(weight[task] > 0, y[task], 0)
        losses.append(tf.math.divide_no_nan(tf.reduce_sum(w * error**2), tf.reduce_sum(w)))
    return losses


def gradients_of(made, method, batch, features=False):
    """The gradients that a step must use, from a call of the method, whose state moves.

    Args:
        made: The model.
        method: The method, called as the training step must call it.
        batch: Inputs, labels and weights.
        features: Whether the gradients of the frontier are balanced, not those of the shared variables.
    """
    parts = mtl.partition(made)
    shared = [v.value for v in trained(parts.shared)]
    own = {task: [v.value for v in trained(parts.own[task])] for task in parts.tasks}
    odd = tf.cast(tf.range(len(batch[0])) % 2, tf.float32)
    frontier: list[tf.Tensor] = []
    with tf.GradientTape(persistent=True) as tape:
        if features:
            trunk, heads = parts.submodels
            between = tf.nest.flatten(trunk(batch[0], training=True))
            frontier = between[: len(parts.frontier)]
        with tf.GradientTape(persistent=True) as heads_tape:
            heads_tape.watch(frontier)
            outputs = heads(between, training=True) if features else made(batch[0], training=True)
            losses = losses_of(outputs, batch)
            halves = [losses_of(outputs, batch, rows) for rows in (1 - odd, odd)]
        penalty = tf.add_n([tf.zeros([]), *made.losses])
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
    if is_scalarizer:
        direction = tf.reduce_sum(rows, 0)
    elif method.kind == "jacobian":
        direction = method(rows, losses=global_losses)
    else:
        one, other = [jacobian(half) for half in halves] if method.needs_half_batches else [rows] * 2
        weights = method(tf.matmul(one, other, transpose_b=True), losses=global_losses)
        direction = tf.linalg.matvec(rows, weights, transpose_a=True)
    pieces = tf.split(direction, [int(tf.size(z)) for z in balanced]) if balanced else []
    direction = [tf.cast(tf.reshape(piece, z.shape), z.dtype) for piece, z in zip(pieces, balanced, strict=True)]
    if features:
        direction = tape.gradient(frontier, shared, output_gradients=direction, unconnected_gradients="zero")

    def with_penalty(gradients, variables):
        more = tape.gradient(penalty, variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) + tf.convert_to_tensor(p) for g, p in zip(gradients, more, strict=True)]

    of_own = {}
    for task, loss, factor in zip(parts.tasks, losses, tf.unstack(factors), strict=True):
        gradients = tape.gradient(loss, own[task], unconnected_gradients="zero")
        of_own[task] = with_penalty([factor * tf.convert_to_tensor(g) for g in gradients], own[task])
    return Gradients(with_penalty(direction, shared), of_own, by_method)


def learn_from_validation(made, method, batch, validation):
    """Auto-Lambda's step on its weights, by its formula."""
    variables = made.trainable_variables
    start = [v.numpy() for v in variables]

    def at(values, data, weights):
        """Losses and the gradient of their weighted sum."""
        for v, value in zip(variables, values, strict=True):
            v.assign(value)
        with tf.GradientTape() as tape:
            losses = tf.stack(losses_of(made(data[0], training=True), data))
            total = tf.reduce_sum(weights * losses)
        gradients = tape.gradient(total, [v.value for v in variables], unconnected_gradients="zero")
        return losses.numpy(), [g.numpy() for g in gradients]

    def along(length):
        return [value + length * g for value, g in zip(start, direction, strict=True)]

    ones = np.ones(len(method.tasks), "float32")
    slopes = at(start, batch, method.loss_weights.numpy())[1]
    ahead = [value - RATE * slope for value, slope in zip(start, slopes, strict=True)]
    direction = at(ahead, validation, ones)[1]
    length = 0.01 / np.sqrt(sum((g**2).sum() for g in direction))
    difference = at(along(length), batch, ones)[0] - at(along(-length), batch, ones)[0]
    at(start, batch, ones)
    method.learn(tf.constant(-RATE * difference / (2 * length)))
