"""Keep a task's own variables as they were when a batch holds no label for the task.

Zero gradients are not enough: Adam's momentum, weight decay and BatchNormalization move variables without any.
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tf_mtl._optimizers import with_inner


def with_slots(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> list[keras.Variable]:
    """Return `variables` and what the optimizer, or one that it wraps, keeps for each of them (momenta, averages)."""
    found, wanted = list(variables), {id(v) for v in variables}
    for part in with_inner(optimizer):
        known = list(part._trainable_variables)
        indices = [i for i, v in enumerate(known) if id(v) in wanted]
        for name, slots in vars(part).items():
            per_variable = isinstance(slots, list) and len(slots) == len(known)
            if per_variable and name not in ("_variables", "_trainable_variables"):
                found += [slots[i] for i in indices if isinstance(slots[i], keras.Variable)]
    return found


def read(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
    """Return the variables' values as they are now."""
    return [tf.identity(v.value) for v in variables]


def put_back(variables: Sequence[keras.Variable], values: Sequence[tf.Tensor], labelled: tf.Tensor) -> None:
    """Give variables their earlier values, unless `labelled`; called in the replica context.

    Args:
        variables: The variables of one task, with their slots.
        values: What `read` gave for them.
        labelled: Whether the global batch holds a label for the task, a scalar bool; or for each task, [T], where the
            variables have that shape.
    """

    def restore(variable, value, labelled):
        variable.assign(tf.where(labelled, variable, value))

    def restore_all(strategy, variables, values, labelled):
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, restore, args=(value, labelled), group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(
        restore_all, tf.distribute.get_strategy(), [v.value for v in variables], list(values), labelled
    )
