"""What tf_mtl needs to know of the internals of Keras optimizers.

No function here changes an optimizer for longer than its own call: the object belongs to the user, who may compile it
into another model.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf


@dataclasses.dataclass
class _Replaced:
    """What an optimizer object itself held under a method's name, if anything, and how many blocks replace it."""

    previous: Callable[..., Any] | None
    blocks: int = 0


_replaced: dict[tuple[int, str], _Replaced] = {}


def unwrapped(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Return an optimizer and all those that it wraps, as a loss-scaling one and a multi-optimizer do."""
    inner = [getattr(optimizer, "inner_optimizer", None), *getattr(optimizer, "_inner_optimizers", ())]
    return [optimizer, *(part for each in inner if each is not None for part in unwrapped(each))]


def with_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return variables and their slots, such as momenta and averages, in an optimizer and those that it wraps."""
    result, wanted = list(variables), {id(v) for v in variables}
    for part in unwrapped(optimizer):
        known = list(part._trainable_variables)
        indices = [i for i, v in enumerate(known) if id(v) in wanted]
        for name, slots in vars(part).items():
            per_variable = isinstance(slots, list) and len(slots) == len(known)
            if per_variable and name not in ("_variables", "_trainable_variables"):
                result += [slots[i] for i in indices if isinstance(slots[i], keras.Variable)]
    return result


def without_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return those of the variables that a built optimizer does not know."""
    known = {id(v) for v in optimizer._trainable_variables}
    return [v for v in variables if id(v) not in known]


def apply_global(
    optimizer: keras.optimizers.Optimizer, gradients: Sequence[tuple[tf.Tensor | None, keras.Variable]]
) -> None:
    """Update variables by gradients of the global batch, which are the same on every replica.

    Keras optimizers clip the gradients of each replica and sum them over the replicas afterwards, so `global_clipnorm`,
    `clipnorm`, `clipvalue` and float16's search for infinities see one replica only. Here the sum is left out.
    """
    with contextlib.ExitStack() as stack:
        for part in unwrapped(optimizer):
            stack.enter_context(methods_replaced(part, _all_reduce_sum_gradients=list))
        optimizer.apply(*zip(*gradients, strict=True))


@contextlib.contextmanager
def methods_replaced(optimizer: keras.optimizers.Optimizer, **methods: Callable[..., Any]) -> Iterator[None]:
    """Replace methods of an optimizer for a whole `apply`, until the block ends on every replica.

    The replicas of one machine are threads that take turns within an update: the first to enter replaces the methods,
    the last to leave restores what the object held before.
    """
    for name, method in methods.items():
        replaced = _replaced.setdefault((id(optimizer), name), _Replaced(vars(optimizer).get(name)))
        replaced.blocks += 1
        if replaced.blocks == 1:
            vars(optimizer)[name] = method
    try:
        yield
    finally:
        for name in methods:
            replaced = _replaced[id(optimizer), name]
            replaced.blocks -= 1
            if not replaced.blocks:
                del _replaced[id(optimizer), name], vars(optimizer)[name]
                if replaced.previous is not None:
                    vars(optimizer)[name] = replaced.previous


def original_method(optimizer: keras.optimizers.Optimizer, name: str) -> Callable[..., Any]:
    """Return a method of an optimizer as it is outside of `methods_replaced`."""
    replaced = _replaced.get((id(optimizer), name))
    if replaced is None:
        return getattr(optimizer, name)
    return replaced.previous or getattr(type(optimizer), name).__get__(optimizer)
