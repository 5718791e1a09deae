"""A forward pass in training mode, which a strategy's replicas can compile with XLA.

XLA cannot compile a whole step under a strategy, because the collectives connect replicas. So each replica compiles
what lies between collectives: a forward pass is a function of its own, and so is the backward pass that TensorFlow
derives from it.
"""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras.src.trainers.trainer import model_supports_jit

from tf_mtl._graph.partition import Partition
from tf_mtl._shapes import keras_mask, with_keras_mask


def compiles_passes(model: keras.Model, jit_compile: bool | str, run_eagerly: bool) -> bool:
    """Return whether each replica is to compile its passes with XLA.

    Args:
        model: The model.
        jit_compile: As given to `compile`; "auto" is True on GPUs.
        run_eagerly: As given to `compile`.
    """
    strategy = model.distribute_strategy
    mirrored = isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy))
    if not mirrored or run_eagerly or not jit_compile:
        return False
    has_gpus = any("GPU" in device for device in strategy.extended.worker_devices)
    return model_supports_jit(model) and (jit_compile is True or has_gpus)


class TrainingPass:
    """The forward pass of one micro-batch.

    Args:
        model: The model.
        compiled: Whether to compile it with XLA.
    """

    def __init__(self, model: keras.Model, compiled: bool):
        self._model, self._compiled = model, compiled
        self._added_losses: list[tf.Tensor] = []

    def __call__(self, part: keras.Model, inputs: Any) -> Any:
        """Return the outputs of the model, or of a part of it."""
        if not self._compiled:
            return part(inputs, training=True)
        variables = part.non_trainable_variables
        updates_trained: list[keras.Variable] = []

        @tf.function(jit_compile=True, autograph=False)
        def forward(inputs, masks):
            # Replicas cannot agree on the variables' new values inside this function, so it returns them.
            with keras.StatelessScope(collect_losses=True) as scope:
                outputs = part(_with_masks(inputs, masks), training=True)
            updates_trained[:] = [v for v in part.trainable_variables if scope.get_current_value(v) is not None]
            values = [scope.get_current_value(v) for v in variables]
            return outputs, _masks(outputs), scope.losses, values

        forward.get_concrete_function(inputs, _masks(inputs))
        if updates_trained:  # as layers do that constrain their weights: the gradient is that of the new value
            return part(inputs, training=True)
        outputs, masks, losses, values = forward(inputs, _masks(inputs))
        for variable, value in zip(variables, values, strict=True):
            if value is not None:
                variable.assign(value)
        self._added_losses += losses
        return _with_masks(outputs, masks)

    def by_task(self, parts: Partition, inputs: Any) -> Mapping[str, tf.Tensor]:
        """Return the model's outputs for losses that are differentiated one by one.

        Only the shared part is compiled: a compiled backward pass does not leave out the heads of other tasks.
        """
        if not self._compiled or not parts.frontier or parts.outputs.keys() != self._model.output.keys():
            return self(self._model, inputs)
        shared_part, _ = parts.submodels
        return parts.outputs_of(self(shared_part, inputs))

    def penalty(self) -> tf.Tensor | None:
        """Return the sum of regularizers and `add_loss` terms after this pass, or None."""
        return total_penalty([*self._model.losses, *self._added_losses])


def total_penalty(losses: list[tf.Tensor]) -> tf.Tensor | None:
    """Return the sum of a model's `losses`, or None without any."""
    sums = [tf.cast(tf.reduce_sum(loss), tf.float32) for loss in losses]
    return tf.add_n(sums) if sums else None


def _masks(tensors):
    return tf.nest.map_structure(keras_mask, tensors)


def _with_masks(tensors, masks):
    return tf.nest.map_structure(with_keras_mask, tensors, masks)
