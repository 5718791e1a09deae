"""Keep a task's own variables as they were when a batch holds no label for the task.

Zero gradients are not enough: Adam's momentum, weight decay and BatchNormalization move variables without any.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf


@dataclass(frozen=True)
class SavedValues:
    """Values that variables had before an update.

    Attributes:
        variables: The variables.
        values: Their values.
        task: The index of the task that owns the variables; None where each variable, [T], holds one entry per task.
    """

    variables: list[keras.Variable]
    values: list[tf.Tensor]
    task: int | None

    @classmethod
    def read(cls, variables: Sequence[keras.Variable], task: int | None) -> "SavedValues":
        """Read the variables' current values."""
        return cls(list(variables), [tf.identity(v.value) for v in variables], task)


def restore_where_unlabelled(saved: SavedValues, labelled: tf.Tensor) -> None:
    """Give variables their saved values where the global batch holds no label; called in the replica context.

    Args:
        saved: The variables and their values before the update.
        labelled: Whether the global batch holds a label for each task, [T].
    """
    keep = labelled if saved.task is None else labelled[saved.task]

    def restore(variable, value, keep):
        variable.assign(tf.where(keep, variable, value))

    def restore_all(strategy, variables, values, keep):
        for variable, value in zip(variables, values, strict=True):
            strategy.extended.update(variable, restore, args=(value, keep), group=False)

    tf.__internal__.distribute.interim.maybe_merge_call(
        restore_all, tf.distribute.get_strategy(), [v.value for v in saved.variables], saved.values, keep
    )
