"""Further forward passes in training mode, for methods that need more than one.

They leave no trace: BatchNormalization's statistics, metrics, seeds and losses stay as they are, and dropout draws the
same masks.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.replicas import replica_sum
from tf_mtl.balancing import Scalarizer

SeedState = list[tuple[keras.Variable, tf.Tensor]]


def seed_state(model: keras.Model) -> SeedState:
    """Return the state of the model's random layers, to be read before the forward pass that is to be repeated."""
    weights = {id(v) for v in model.non_trainable_weights}
    return [(v, tf.identity(v.value)) for v in model.non_trainable_variables if id(v) not in weights]


def forward(
    model: keras.Model, x: Any, seeds: SeedState, values: Iterable[tf.Tensor] = ()
) -> tuple[dict[str, tf.Tensor], SeedState]:
    """Return the model's outputs for other values of its variables, and the seeds after such a pass.

    Args:
        model: The model.
        x: Its inputs.
        seeds: What `seed_state` or an earlier call returned.
        values: Values of all trainable variables; none for the current ones.
    """
    variables = model.trainable_variables if values else []
    with keras.StatelessScope(state_mapping=[*seeds, *zip(variables, values, strict=True)]) as scope:
        outputs = model(x, training=True)
    return outputs, [(v, scope.get_current_value(v)) for v, _ in seeds]


def share_global_rows(model: keras.Model, batches: Sequence[BatchLosses]) -> None:
    """Give all micro-batches the label weights of the whole batch, and the rows that losses compare.

    Masks that only a forward pass knows may leave labels out. Of such passes TensorFlow runs no more than needed.
    """
    half_weight_sums = _summed(model, batches, seed_state(model), BatchLosses.half_weight_sums)
    for batch in batches:
        batch.set_global_weights(half_weight_sums)


def global_losses(model: keras.Model, batches: Sequence[BatchLosses], seeds: SeedState) -> tf.Tensor:
    """Return the losses [T] of the global batch.

    Args:
        model: The model.
        batches: This replica's micro-batches.
        seeds: What `seed_state` returned before the forward passes that these repeat.
    """
    return _summed(model, batches, seeds, BatchLosses.losses)


def learn_from_validation(
    model: keras.Model, balancing: Scalarizer, training: BatchLosses, validation: BatchLosses
) -> None:
    """Let a method learn from the gradient of the validation loss after a virtual training step.

    Args:
        model: The compiled model.
        balancing: A method with `needs_validation`: with `loss_weights` [T], `importance` [T], and `learn(gradient)`.
        training: The training batch.
        validation: A validation batch.
    """
    variables, seeds = model.trainable_variables, seed_state(model)
    rate = tf.cast(model.optimizer.learning_rate, tf.float32)

    def losses_at(batch, values):
        return batch.losses(forward(model, batch.x, seeds, values)[0])

    now = [tf.convert_to_tensor(v.value) for v in variables]
    with tf.GradientTape() as tape:
        tape.watch(now)
        losses = losses_at(training, now)
    slopes = _global_gradient(tape, losses, now, tf.convert_to_tensor(balancing.loss_weights))
    ahead = [value - rate * slope for value, slope in zip(now, slopes, strict=True)]
    with tf.GradientTape() as tape:
        tape.watch(ahead)
        losses = losses_at(validation, ahead)
    direction = _global_gradient(tape, losses, ahead, tf.constant(balancing.importance, tf.float32))
    step = tf.math.divide_no_nan(0.01, tf.linalg.global_norm(direction))

    def losses_along(length):
        values = [value + length * slope for value, slope in zip(now, direction, strict=True)]
        return replica_sum(losses_at(training, values))

    difference = losses_along(step) - losses_along(-step)
    balancing.learn(-rate * tf.math.divide_no_nan(difference, 2 * step))


def _summed(
    model: keras.Model, batches: Sequence[BatchLosses], seeds: SeedState, measure: Callable[..., tf.Tensor]
) -> tf.Tensor:
    """Sum over micro-batches and replicas what is measured in forward passes, one after the other."""
    passes = []
    for batch in batches:
        outputs, seeds = forward(model, batch.x, seeds)
        passes.append((batch, outputs))
    for index, (batch, _) in enumerate(passes):
        batch.set_compared(passes[:index], passes[index + 1 :])
    return replica_sum(tf.add_n([measure(batch, outputs) for batch, outputs in passes]))


def _global_gradient(tape, losses, values, weights):
    """The global gradient of the weighted losses, as dense tensors."""
    gradients = tape.gradient(losses, values, output_gradients=weights)
    pairs = zip(gradients, values, strict=True)
    return replica_sum([tf.zeros_like(v) if g is None else tf.convert_to_tensor(g) for g, v in pairs])
