"""Forward passes in training mode that leave no trace, and what methods learn from them.

BatchNormalization's statistics, metrics, seeds and losses stay as they are, and dropout draws the same masks.
"""

from collections.abc import Iterable
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


def forward(model: keras.Model, x: Any, state: State, values: Iterable[tf.Tensor] = ()) -> dict[str, tf.Tensor]:
    """Return the model's outputs for other values of its variables.

    Args:
        model: The model.
        x: Its inputs.
        state: What `seeds` returned.
        values: Values of all trainable variables; none for those that they have.
    """
    variables = model.trainable_variables if values else []
    with keras.StatelessScope(state_mapping=[*state, *zip(variables, values, strict=True)]):
        return model(x, training=True)


def learn_from_validation(
    model: keras.Model,
    balancing: Scalarizer,
    training: tuple[Any, BatchLosses],
    validation: tuple[Any, BatchLosses],
) -> None:
    """Let a method take a step by the gradient of the validation loss after a virtual step of training.

    Args:
        model: The compiled model.
        balancing: A method with `needs_validation`: with `loss_weights` [T], `importance` [T], and `learn(gradient)`.
        training: Inputs and losses of the training batch.
        validation: Inputs and losses of a validation batch.
    """
    (x, losses_of), (other_x, other_losses_of) = training, validation
    variables, state = model.trainable_variables, seeds(model)
    rate = tf.cast(model.optimizer.learning_rate, tf.float32)
    now = [tf.convert_to_tensor(v.value) for v in variables]
    with tf.GradientTape() as tape:
        tape.watch(now)
        losses = losses_of.shares(forward(model, x, state, now))
    slopes = _gradient(tape, losses, now, tf.convert_to_tensor(balancing.loss_weights))
    ahead = [value - rate * slope for value, slope in zip(now, slopes, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch(ahead)
        losses = other_losses_of.shares(forward(model, other_x, state, ahead))
    towards = _gradient(tape, losses, ahead, tf.constant(balancing.importance, tf.float32))
    step = tf.math.divide_no_nan(0.01, tf.linalg.global_norm(towards))

    def losses_at(length):
        values = [value + length * slope for value, slope in zip(now, towards, strict=True)]
        return replica_sum(losses_of.shares(forward(model, x, state, values)))

    difference = losses_at(step) - losses_at(-step)
    balancing.learn(-rate * tf.math.divide_no_nan(difference, 2 * step))


def _gradient(tape, losses, values, weights):
    """The global gradient of the weighted losses, as dense tensors."""
    found = tape.gradient(losses, values, output_gradients=weights)
    dense = [tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in zip(found, values, strict=True)]
    return replica_sum(dense)
