"""The derivatives of an objective by the tasks' global losses, which weight the tasks' gradients."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from tf_mtl._engine import lookahead
from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.gradients import values_of
from tf_mtl._engine.lowest_losses import assert_losses
from tf_mtl._engine.replicas import replica_sum
from tf_mtl.balancing import Balancing

Objective: TypeAlias = Callable[[tf.Tensor], tf.Tensor]


class Derivatives(NamedTuple):
    """An objective's derivatives.

    Attributes:
        losses: The global losses that they were taken at, [T].
        by_losses: The derivatives by the losses, [T].
        by_state: The derivatives by the method's own trainable variables.
    """

    losses: tf.Tensor
    by_losses: tf.Tensor
    by_state: list[tf.Tensor]


def derivatives(model: keras.Model, balancing: Balancing, losses: tf.Tensor, objective: Objective) -> Derivatives:
    """Return the derivatives of an objective at the global losses [T], which must not be too low for the method."""
    state = values_of(balancing.trainable_variables)
    with tf.control_dependencies(assert_losses(model, balancing, losses)):
        with tf.GradientTape() as tape:
            tape.watch(losses)
            value = objective(losses)
        by_losses, *by_state = tape.gradient(value, [losses, *state])
        return Derivatives(tf.identity(losses), tf.identity(by_losses), by_state)


def derivatives_for(
    model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], objective: Objective
) -> Callable[[tf.Tensor], Derivatives]:
    """Return a function from a micro-batch's contribution to the losses [T] to the derivatives at the global losses.

    A single batch gives its global losses in its own forward pass. Several need further forward passes beforehand,
    unless neither the derivatives nor the method's rules depend on the losses.
    """
    if len(batches) == 1:
        return lambda losses: derivatives(model, balancing, replica_sum(losses), objective)
    lookahead.share_global_rows(model, batches)
    if balancing.derivatives_are_constant and balancing.lowest_loss is None:
        global_losses = tf.zeros([len(balancing.tasks)])
    else:
        global_losses = lookahead.global_losses(model, batches, lookahead.seed_state(model))
    ahead = derivatives(model, balancing, global_losses, objective)
    return lambda _: ahead


def sum_of_transformed(balancing: Balancing) -> Objective:
    """Return the objective of gradient methods, whose derivatives are the factors of the tasks' gradients."""
    return lambda losses: tf.reduce_sum(balancing.transform(losses))
