"""Optimizers that wrap others."""

import keras


def with_inner(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Return an optimizer and all those that it wraps, as a loss-scaling one and a multi-optimizer do."""
    wrapped = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "_inner_optimizers", ())]
    return [optimizer, *(part for inner in wrapped if inner is not None for part in with_inner(inner))]
