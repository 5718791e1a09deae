"""The tasks' gradients of many variables as one Jacobian, in which an embedding table is reduced to the rows read."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_mtl._engine.gradients import Gradient
from tf_mtl._engine.inner_products import inner_products


class Jacobian(NamedTuple):
    """T gradients of the same variables.

    Attributes:
        blocks: Matrices [T, P_k], one per variable, whose columns together make up the Jacobian [T, P].
        variables: The variables, in the order of the columns.
        rows: For each variable the indices of the rows that its columns stand for, increasing, [R]; None for all.
    """

    blocks: list[tf.Tensor]
    variables: list[keras.Variable]
    rows: list[tf.Tensor | None]

    def matrix(self) -> tf.Tensor:
        """Return J, [T, P]."""
        return self.blocks[0] if len(self.blocks) == 1 else tf.concat(self.blocks, 1)

    def gramian(self) -> tf.Tensor:
        """Return J J^T, [T, T]."""
        return tf.add_n([inner_products(block) for block in self.blocks])

    def weighted(self, weights: tf.Tensor) -> list[Gradient]:
        """Return J^T w as one gradient per variable, for weights [T]."""
        return self._per_variable([tf.linalg.matvec(block, weights, transpose_a=True) for block in self.blocks])

    def weighted_if_not_zero(self, weights: tf.Tensor, gramian: tf.Tensor) -> list[Gradient]:
        """Return what `weighted` returns, without the tasks of weight 0 even if their gradients are infinite or NaN.

        Args:
            weights: The tasks' weights w, [T].
            gramian: J J^T, [T, T], which is finite unless a gradient is not, or is very large.
        """

        def of_all_tasks():
            return [tf.linalg.matvec(block, weights, transpose_a=True) for block in self.blocks]

        def of_tasks_with_weight():  # slower, and without XLA it takes the memory of a second Jacobian
            return [tf.reduce_sum(tf.math.multiply_no_nan(block, weights[:, None]), 0) for block in self.blocks]

        is_finite = tf.reduce_all(tf.math.is_finite(gramian))
        return self._per_variable(tf.cond(is_finite, of_all_tasks, of_tasks_with_weight))

    def unflatten(self, direction: tf.Tensor) -> list[Gradient]:
        """Return a direction [P] as one gradient per variable."""
        widths = [math.prod(v.shape[1:]) for v in self.variables]
        pairs = zip(self.variables, self.rows, strict=True)
        counts = [math.prod(v.shape[:1]) if rows is None else tf.shape(rows)[0] for v, rows in pairs]
        sizes = [count * width for count, width in zip(counts, widths, strict=True)]
        return self._per_variable(tf.split(direction, sizes))

    def _per_variable(self, pieces):
        return [_shaped(*parts) for parts in zip(pieces, self.variables, self.rows, strict=True)]


def jacobian(
    gradients: Sequence[Sequence[Gradient]], variables: Sequence[keras.Variable], compact: bool = True
) -> Jacobian:
    """Stack this replica's gradients, one list per task.

    A table for which every task's gradient is sparse is reduced to the rows that any replica's batch has read,
    unless `compact` is False.
    """
    columns = list(zip(*gradients, strict=True))
    rows = [_rows(column) if compact and _is_sparse(column) else None for column in columns]
    blocks = [
        tf.stack([_flat(gradient, variable, kept) for gradient in column])
        for column, variable, kept in zip(columns, variables, rows, strict=True)
    ]
    return Jacobian(blocks, list(variables), rows)


def _is_sparse(column):
    return {type(gradient) for gradient in column if gradient is not None} == {tf.IndexedSlices}


def _rows(column):
    """The rows of a table that the gradients on any replica hold, increasing."""
    by_origin = {_origin(g.indices): g.indices for g in column if g is not None}
    indices = tf.concat(list(by_origin.values()), 0)
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        indices = tf.distribute.get_replica_context().all_gather(indices, axis=0)
    return tf.unique(tf.sort(indices)).y


def _origin(tensor):
    """What an index tensor was reshaped or joined from: each task's gradient holds a copy of the same indices."""
    if tf.executing_eagerly() or tensor.op.type not in ("Reshape", "Identity", "ConcatV2"):
        return (id(tensor),)
    sources = tensor.op.inputs[:-1] if tensor.op.type == "ConcatV2" else tensor.op.inputs[:1]
    return sum((_origin(source) for source in sources), ())


def _flat(gradient, variable, rows):
    """A gradient as a float32 vector, of the whole variable or of some of its rows."""
    if rows is None:
        gradient = tf.zeros(variable.shape) if gradient is None else tf.convert_to_tensor(gradient)
        return tf.reshape(tf.cast(gradient, tf.float32), [math.prod(variable.shape)])
    count = tf.shape(rows)[0]
    if gradient is None:
        return tf.zeros([count * math.prod(variable.shape[1:])])
    indices = tf.searchsorted(rows, gradient.indices)
    return tf.reshape(tf.math.unsorted_segment_sum(tf.cast(gradient.values, tf.float32), indices, count), [-1])


def _shaped(piece, variable, rows):
    if rows is None:
        return tf.reshape(piece, variable.shape)
    values = tf.reshape(piece, (-1, *variable.shape[1:]))
    return tf.IndexedSlices(values, rows, tf.constant(tuple(variable.shape), rows.dtype))
