"""How many rows the tasks label in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tf_mtl.report import table


@dataclass(frozen=True)
class Overlap:
    """How many rows each two tasks label in common; `print` shows a table of the shares.

    Attributes:
        tasks: The tasks' names, T of them.
        counts: The number of rows that both tasks label, [T, T]; on the diagonal, those that the task labels.
        rows: The number of all rows.
    """

    tasks: tuple[str, ...]
    counts: np.ndarray
    rows: int

    @property
    def shares(self) -> np.ndarray:
        """The rows that both tasks label over those that one of them labels, [T, T]; NaN where there are none."""
        labelled = np.diag(self.counts)
        either = labelled[:, None] + labelled - self.counts
        return np.divide(self.counts, either, out=np.full(either.shape, np.nan), where=either > 0)

    def __str__(self) -> str:
        rows = [
            [task, int(self.counts[index, index]), *(f"{share:.1%}" for share in self.shares[index])]
            for index, task in enumerate(self.tasks)
        ]
        return f"{table(['task', 'labelled', *self.tasks], rows)}\n\n{self.rows:,} rows."


def overlap(data: Any) -> Overlap:
    """Return how many rows each two tasks label in common.

    A row is labelled for a task if one of its label weights is not 0. A task without label weights labels all rows.
    Gradients of tasks that label few rows in common differ by the rows alone, so measures that compare them, such as
    `tf_mtl.callbacks.TaskAffinity`, mean little below a share of about 0.3.

    Args:
        data: Arrays (x, {task: y}) or (x, {task: y}, {task: weight}), or a data set of batches of that form, which
            must end.

    Raises:
        ValueError: for an endless data set, or data of another form.

    Example:

    >>> weights = {"click": np.array([1, 1, 1, 1]), "buy": np.array([1, 1, 0, 0])}
    >>> data = np.ones((4, 2)), {"click": np.zeros(4), "buy": np.zeros(4)}, weights
    >>> mtl.analysis.overlap(data).shares
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    if isinstance(data, tf.data.Dataset) and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY:
        raise ValueError("`data` must end, received an endless data set. Pass it before `repeat`, or use `take`.")
    counts, rows, tasks = np.zeros([], "int64"), 0, tuple[str, ...]()
    for batch in data if isinstance(data, tf.data.Dataset) else [data]:
        _, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        if not isinstance(y, Mapping) or not isinstance(weight, (Mapping, type(None))):
            raise ValueError(
                "`data` must give (x, {task: y}) or (x, {task: y}, {task: weight}), received labels "
                f"{type(y).__name__} and weights {type(weight).__name__}."
            )
        tasks = tuple(y)
        unknown = sorted(set(weight or {}) - set(y))
        if unknown:
            raise ValueError(f"`data` must give label weights of the tasks {list(y)}, received '{unknown[0]}'.")
        size = int(next(iter(y.values())).shape[0])
        labelled = np.array([_labelled((weight or {}).get(task), size) for task in tasks], "int64")
        counts, rows = counts + labelled @ labelled.T, rows + size
    if not rows:
        raise ValueError("`data` must have at least one row, received none.")
    return Overlap(tasks, counts, rows)


def _labelled(weight, rows):
    """Which rows a task labels, [B]."""
    if weight is None:
        return np.ones(rows, bool)
    if isinstance(weight, tf.RaggedTensor):
        weight = weight.to_tensor()
    return (np.asarray(weight) != 0).reshape(rows, -1).any(1)
