"""Forward passes in training mode that leave no trace, and what methods learn from them.

BatchNormalization's statistics, metrics, seeds and losses stay as they are, and dropout draws the same masks.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.balancing import Scalarizer
from tf_mtl.batch_losses import BatchLosses
from tf_mtl.replicas import replica_sum

State = list[tuple[keras.Variable, tf.Tensor]]


def seeds(model: keras.Model) -> State:
    """Return the state of the model's random layers, to be read before the forward pass that is to be repeated."""
    weights = {id(v) for v in model.non_trainable_weights}
    return [(v, tf.identity(v.value)) for v in model.non_trainable_variables if id(v) not in weights]


def forward(
    model: keras.Model, x: Any, state: State, values: Iterable[tf.Tensor] = ()
) -> tuple[dict[str, tf.Tensor], State]:
    """Return the model's outputs for other values of its variables, and the state that such a pass leaves.

    Args:
        model: The model.
        x: Its inputs.
        state: What `seeds` returned, or an earlier call.
        values: Values of all trainable variables; none for those that they have.
    """
    variables = model.trainable_variables if values else []
    with keras.StatelessScope(state_mapping=[*state, *zip(variables, values, strict=True)]) as scope:
        outputs = model(x, training=True)
    return outputs, [(v, scope.get_current_value(v)) for v, _ in state]


def settle(model: keras.Model, batches: Sequence[BatchLosses]) -> None:
    """Tell micro-batches how many labels the whole batch has.

    Labels may be left out by masks that only a forward pass knows; of such passes TensorFlow runs no more than that.
    """
    counts = _over(model, batches, seeds(model), BatchLosses.counts)
    for batch in batches:
        batch.settle(counts)


def losses(model: keras.Model, batches: Sequence[BatchLosses], state: State) -> tf.Tensor:
    """Return the losses [T] of the global batch, of which micro-batches are given.

    Args:
        model: The model.
        batches: This replica's micro-batches.
        state: What `seeds` returned before the forward passes that these repeat.
    """
    return _over(model, batches, state, BatchLosses.shares)


def learn_from_validation(
    model: keras.Model,
    balancing: Scalarizer,
    training: BatchLosses,
    validation: BatchLosses,
) -> None:
    """Let a method take a step by the gradient of the validation loss after a virtual step of training.

    Args:
        model: The compiled model.
        balancing: A method with `needs_validation`: with `loss_weights` [T], `importance` [T], and `learn(gradient)`.
        training: The training batch.
        validation: A validation batch.
    """
    variables, state = model.trainable_variables, seeds(model)
    rate = tf.cast(model.optimizer.learning_rate, tf.float32)

    def losses_at(batch, values):
        return batch.shares(forward(model, batch.x, state, values)[0])

    now = [tf.convert_to_tensor(v.value) for v in variables]
    with tf.GradientTape() as tape:
        tape.watch(now)
        found = losses_at(training, now)
    slopes = _gradient(tape, found, now, tf.convert_to_tensor(balancing.loss_weights))
    ahead = [value - rate * slope for value, slope in zip(now, slopes, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch(ahead)
        found = losses_at(validation, ahead)
    towards = _gradient(tape, found, ahead, tf.constant(balancing.importance, tf.float32))
    step = tf.math.divide_no_nan(0.01, tf.linalg.global_norm(towards))

    def along(length):
        values = [value + length * slope for value, slope in zip(now, towards, strict=True)]
        return replica_sum(losses_at(training, values))

    difference = along(step) - along(-step)
    balancing.learn(-rate * tf.math.divide_no_nan(difference, 2 * step))


def _over(model, batches, state, measure):
    """The sum over micro-batches and replicas of what is measured in forward passes, one after the other."""
    found = []
    for batch in batches:
        outputs, state = forward(model, batch.x, state)
        found.append(measure(batch, outputs))
    return replica_sum(tf.add_n(found))


def _gradient(tape, losses, values, weights):
    """The global gradient of the weighted losses, as dense tensors."""
    found = tape.gradient(losses, values, output_gradients=weights)
    dense = [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in zip(found, values, strict=True)]
    return replica_sum(dense)
