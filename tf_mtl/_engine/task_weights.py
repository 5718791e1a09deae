"""The tasks' weights, from the inner products of their gradients."""

import contextlib

import keras
import tensorflow as tf

from tf_mtl.balancing import Balancing


def task_weights(model: keras.Model, balancing: Balancing, gramian: tf.Tensor, losses: tf.Tensor) -> tf.Tensor:
    """Return the weights [T] that a weighting gives to the tasks.

    It is called on the CPU: a solver takes hundreds of small operations, each of which a GPU would have to launch. XLA
    places what it compiles itself.

    Args:
        model: The compiled model.
        balancing: The weighting.
        gramian: The inner products of the tasks' gradients, [T, T].
        losses: The global losses [T], which are computed first.
    """
    device = contextlib.nullcontext() if model.jit_compile else tf.device("/device:CPU:0")
    with tf.control_dependencies([losses]), device:
        return balancing(gramian, losses=losses)
