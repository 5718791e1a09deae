"""The derivatives of an objective by the tasks' global losses, which weight the tasks' gradients."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_mtl._engine import lookahead
from tf_mtl._engine.batch_losses import BatchLosses
from tf_mtl._engine.update import values_of
from tf_mtl.balancing import Balancing

Objective = Callable[[tf.Tensor], tf.Tensor]


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


def derivatives(balancing: Balancing, losses: tf.Tensor, objective: Objective) -> Derivatives:
    """Return the derivatives of an objective at the global losses [T]."""
    state = values_of(balancing.trainable_variables)
    with tf.GradientTape() as tape:
        tape.watch(losses)
        value = objective(losses)
    by_losses, *by_state = tape.gradient(value, [losses, *state])
    return Derivatives(losses, by_losses, by_state)


def derivatives_ahead(
    model: keras.Model, balancing: Balancing, batches: Sequence[BatchLosses], objective: Objective
) -> Derivatives | None:
    """Return the derivatives before the first of several micro-batches is differentiated; None for a single one.

    A single batch's forward pass gives its global losses anyway. Several need further forward passes, unless the
    derivatives do not depend on the losses.
    """
    if len(batches) == 1:
        return None
    lookahead.share_global_weights(model, batches)
    if balancing.derivatives_are_constant:
        losses = tf.zeros([len(balancing.tasks)])
    else:
        losses = lookahead.global_losses(model, batches, lookahead.seed_state(model))
    return derivatives(balancing, losses, objective)


def sum_of_transformed(balancing: Balancing) -> Objective:
    """Return the objective of gradient methods, whose derivatives are the factors of the tasks' gradients."""
    return lambda losses: tf.reduce_sum(balancing.transform(losses))
