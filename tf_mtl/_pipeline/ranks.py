"""Traces for tensors of any length, but not of any rank.

With `reduce_retracing`, TensorFlow generalises a trace to all shapes that it has seen, even to an unknown rank, with
which losses and metrics cannot be traced. So batches that differ in rank, such as label weights [B] and [B, C], get
traces of their own.
"""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

Ranks = tuple[int | None, ...]


def ranks_of(structure: Any) -> Ranks:
    """Return the ranks of tensors, arrays or specs; None for anything else."""
    leaves = tf.nest.flatten(structure, expand_composites=False)
    return tuple(len(leaf.shape) if getattr(leaf, "shape", None) is not None else None for leaf in leaves)


def traced_by_rank(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Return a function that traces another one for each combination of its arguments' ranks.

    Args:
        function: The function.
        **options: Those of `tf.function`.
    """

    @functools.cache
    def traced(ranks: Ranks) -> Any:
        return tf.function(function, reduce_retracing=True, **options)

    def call(*args: Any) -> Any:
        return traced(ranks_of(args))(*args)

    return call
