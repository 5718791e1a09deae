"""The loss of a task that compares the rows of the global batch."""

import tensorflow as tf

from tf_mtl._gathered import gathered
from tf_mtl._shapes import match_rank
from tf_mtl.losses import BatchLoss


def batch_loss_sums(
    task: str, loss: BatchLoss, y: tf.Tensor, y_pred: tf.Tensor, weight: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return this replica's sum(w * l) and sum(w), where each l depends on the rows of all replicas.

    The gradient of the first is that of the sum over all replicas' rows, since these depend on this replica's outputs.

    Args:
        task: The task's name, for messages.
        loss: The task's loss.
        y: This replica's labels, [B, ...].
        y_pred: Its outputs, [B, ...].
        weight: Its label weights, [B] or [B, 1]; None when all rows are labelled.

    Raises:
        ValueError: unless there is one weight and one value per row.
    """
    y_pred = tf.cast(y_pred, tf.float32)
    y = y if y.dtype.is_integer else tf.cast(y, tf.float32)  # float32 would merge large ids
    rows = tf.shape(y_pred)[0]
    if weight is not None and any(size != 1 for size in weight.shape[1:]):
        raise ValueError(
            f"`sample_weight['{task}']`, or the mask of the task's output, must have one value per row, because the "
            f"loss '{loss.name}' compares rows; received the shape {tuple(weight.shape)}."
        )
    local_weight = tf.ones([rows]) if weight is None else match_rank(tf.cast(weight, tf.float32), 1)
    first, outputs = _with_other_replicas(y_pred)
    weights = gathered(local_weight)
    values = tf.cast(loss.call(gathered(y), outputs, weights), tf.float32)
    if values.shape.rank != 1:
        raise ValueError(
            f"`loss['{task}']` must give one value per row, [B], received values of shape {tuple(values.shape)} from "
            f"'{loss.name}'."
        )
    weighted = weights * tf.where(weights > 0, values, 0.0)
    total, own = tf.reduce_sum(weighted), tf.reduce_sum(weighted[first : first + rows])
    return tf.stop_gradient(own - total) + total, tf.reduce_sum(local_weight)


def _with_other_replicas(tensor):
    """The rows of all replicas, of which only this one's pass a gradient back, and the index of this one's first."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return 0, tensor
    rows, of_all = tf.shape(tensor)[0], gathered(tf.stop_gradient(tensor))
    first = rows * tf.distribute.get_replica_context().replica_id_in_sync_group  # replicas have equally many rows
    return first, tf.concat([of_all[:first], tensor, of_all[first + rows :]], 0)
