"""The loss of a task that compares the rows of the global batch."""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from tf_mtl._gathered import gathered
from tf_mtl._shapes import match_rank
from tf_mtl.losses import BatchLoss


class ComparedRows(NamedTuple):
    """Rows of a task whose loss compares them.

    Attributes:
        y: The labels, [B, ...].
        y_pred: The outputs, [B, ...].
        weight: The label weights, [B] or [B, 1]; None when all rows are labelled.
    """

    y: tf.Tensor
    y_pred: tf.Tensor
    weight: tf.Tensor | None


def batch_loss_sums(
    task: str,
    loss: BatchLoss,
    rows: ComparedRows,
    before: Sequence[ComparedRows] = (),
    after: Sequence[ComparedRows] = (),
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return sum(w * l) and sum(w) over a micro-batch, where each l depends on the rows of the global batch.

    The gradient of the first is that of the sum over all rows of the global batch, since these depend on the
    micro-batch's outputs.

    Args:
        task: The task's name, for messages.
        loss: The task's loss.
        rows: The micro-batch.
        before: This replica's micro-batches before it.
        after: Those after it.

    Raises:
        ValueError: unless there is one weight and one value per row.
    """
    weight = rows.weight
    if weight is not None and any(size != 1 for size in weight.shape[1:]):
        raise ValueError(
            f"`sample_weight['{task}']`, or the mask of the task's output, must have one value per row, because the "
            f"loss '{loss.name}' compares rows; received the shape {tuple(weight.shape)}."
        )
    parts = [*map(_without_gradient, before), _uniform(rows), *map(_without_gradient, after)]
    y, y_pred, local_weights = (tf.concat(column, 0) for column in zip(*parts, strict=True))
    first, outputs = _with_other_replicas(y_pred)
    first += sum(tf.shape(part.y_pred)[0] for part in parts[: len(before)])
    weights = gathered(local_weights)
    values = tf.cast(loss.call(gathered(y), outputs, weights), tf.float32)
    if values.shape.rank != 1:
        raise ValueError(
            f"`loss['{task}']` must give one value per row, [B], received values of shape {tuple(values.shape)} from "
            f"'{loss.name}'."
        )
    weighted = weights * tf.where(weights > 0, values, 0.0)
    total, own = tf.reduce_sum(weighted), tf.reduce_sum(weighted[first : first + tf.shape(rows.y_pred)[0]])
    return tf.stop_gradient(own - total) + total, tf.reduce_sum(parts[len(before)].weight)


def _uniform(rows):
    """The rows with a weight [B] and floats of 32 bits."""
    y_pred = tf.cast(rows.y_pred, tf.float32)
    y = rows.y if rows.y.dtype.is_integer else tf.cast(rows.y, tf.float32)  # float32 would merge large ids
    weight = tf.ones([tf.shape(y_pred)[0]]) if rows.weight is None else match_rank(tf.cast(rows.weight, tf.float32), 1)
    return ComparedRows(y, y_pred, weight)


def _without_gradient(rows):
    return ComparedRows(*map(tf.stop_gradient, _uniform(rows)))


def _with_other_replicas(tensor):
    """The rows of all replicas, of which only this one's pass a gradient back, and the index of this one's first."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return 0, tensor
    rows, of_all = tf.shape(tensor)[0], gathered(tf.stop_gradient(tensor))
    first = rows * tf.distribute.get_replica_context().replica_id_in_sync_group  # replicas have equally many rows
    return first, tf.concat([of_all[:first], tensor, of_all[first + rows :]], 0)
