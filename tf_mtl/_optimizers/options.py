"""Options of `compile` that would give wrong results, or fail."""

import keras
import tensorflow as tf

from tf_mtl._optimizers.internals import unwrapped


def check_options(strategy: tf.distribute.Strategy, optimizer: keras.optimizers.Optimizer | None) -> None:
    """Raise for options that are not supported.

    Args:
        strategy: The model's strategy.
        optimizer: The optimizer given to `compile`.

    Raises:
        ValueError: naming the option and what to do instead.
    """
    if optimizer is None:
        return
    inner = unwrapped(optimizer)[-1]
    if inner._distribution_strategy is not strategy:
        raise ValueError(
            f"`optimizer` was made under {type(inner._distribution_strategy).__name__}, the model under "
            f"{type(strategy).__name__}. Make both, and compile, inside `with strategy.scope():`."
        )
    if inner.gradient_accumulation_steps:
        raise ValueError(
            "`gradient_accumulation_steps` is not supported: a task's loss is the mean over its labels in the batch, "
            "which a sum over micro-batches is not, and Keras updates inside a condition, which fails under "
            "strategies. Use larger batches and compile(accumulate=n), which splits each batch into n micro-batches."
        )
    if not isinstance(strategy, (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy)):
        return
    if inner.ema_overwrite_frequency:
        raise ValueError(
            f"`ema_overwrite_frequency` is not supported under {type(strategy).__name__} with "
            f"{strategy.num_replicas_in_sync} replicas: Keras overwrites inside a condition, which fails here. Use "
            "keras.callbacks.SwapEMAWeights, or train on one device."
        )


def check_loss_scaling(
    optimizer: keras.optimizers.Optimizer | None, method: keras.layers.Layer, scales_loss: bool
) -> None:
    """Raise where float16's loss scaling would spoil the state of a balancing method.

    Args:
        optimizer: The optimizer given to `compile`.
        method: The balancing method.
        scales_loss: Whether `compile` scales the loss on its own.

    Raises:
        ValueError: if the loss is scaled and the method keeps float32 state.
    """
    scales_loss = scales_loss or isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if scales_loss and any(v.dtype == "float32" for v in method.non_trainable_variables):
        raise ValueError(
            f"balancing={type(method).__name__!r} keeps state, which the infinite gradients of a step that float16 "
            "skips would spoil. Use the policy 'mixed_bfloat16', or balancing='equal'."
        )
