"""What a training step computes before it updates."""

from typing import NamedTuple

import keras
import tensorflow as tf

from tf_mtl._engine.gradients import Gradient


class Update(NamedTuple):
    """The gradients of one training step, and how they came about.

    Attributes:
        outputs: The model's outputs by task, of each micro-batch.
        gradients: Pairs of a gradient and its variable.
        weights: The weight of each task, [T]; None where the method gives a direction instead.
        losses: The losses [T] that the method was given.
        gramian: The inner products [T, T] of the gradients that were balanced; None where only losses were.
    """

    outputs: list[dict[str, tf.Tensor]]
    gradients: list[tuple[Gradient, keras.Variable]]
    weights: tf.Tensor | None
    losses: tf.Tensor
    gramian: tf.Tensor | None
