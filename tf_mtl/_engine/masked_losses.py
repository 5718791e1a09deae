"""A task's loss: sum(w * l) / sum(w) over its labels."""

from collections.abc import Callable

import keras
import tensorflow as tf

from tf_mtl._shapes import keras_mask, masked_weight, match_rank
from tf_mtl.losses._parts_loss import PartsLoss


@keras.saving.register_keras_serializable("tf_mtl")
class FunctionLoss(keras.losses.Loss):
    """A function `fn(y_true, y_pred)` that gives one value per row (or per token), as a Keras loss."""

    def __init__(self, fn: Callable, name: str | None = None, **kwargs):
        super().__init__(name=name or getattr(fn, "__name__", "loss"), **kwargs)
        self.fn = fn

    def call(self, y_true, y_pred):
        """Return the values of `fn`."""
        return self.fn(y_true, y_pred)

    def get_config(self):
        return {**super().get_config(), "fn": keras.saving.serialize_keras_object(self.fn)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "fn": keras.saving.deserialize_keras_object(config["fn"])})


def as_loss(task: str, loss: str | Callable | keras.losses.Loss) -> keras.losses.Loss:
    """Return `loss` as a `keras.losses.Loss`.

    Args:
        task: The task it belongs to, for messages.
        loss: A Keras loss, the name of one, or a function `fn(y_true, y_pred)` of one value per row.

    Raises:
        ValueError: if it asks for the reduction "sum", which depends on the number of replicas.
    """
    loss = keras.losses.get(loss)
    if not isinstance(loss, keras.losses.Loss):
        loss = FunctionLoss(loss)
    if loss.reduction == "sum":
        raise ValueError(
            f"`loss['{task}']` must not use reduction='sum': a task's loss is the mean over its labelled rows, "
            "sum(w * l) / sum(w). Leave `reduction` out, and scale the task with `loss_weights`."
        )
    return loss


def clean_labels(
    loss: keras.losses.Loss | None, y: tf.Tensor, weight: tf.Tensor | None
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Replace labels of weight 0, which may hold anything, by 0, or the loss' `missing_label`, so that no NaN counts.

    Args:
        loss: The task's loss, if it has one; the labels of its `ignore_class` get weight 0, as do those
            that its `is_missing` finds.
        y: Labels, [B, ...].
        weight: Label weights, [B] or of the labels' shape; None when every row is labelled.

    Returns:
        The labels and their weights, float32, or None when every row is labelled.
    """
    y = tf.convert_to_tensor(y)
    missing_labels = _missing_labels(loss, y)
    if missing_labels is not None:
        counted = 1 - tf.cast(missing_labels, tf.float32)
        rank = len(counted.shape)
        weight = counted if weight is None else match_rank(tf.cast(weight, tf.float32), rank) * counted
    if weight is None:
        return y, None
    weight = tf.cast(weight, tf.float32)
    labelled = match_rank(weight > 0, len(y.shape))
    missing = getattr(loss, "missing_label", 0)
    if missing < 0 and not y.dtype.is_floating:
        y = tf.cast(y, tf.int32)  # it may be unsigned
    return tf.where(labelled, y, tf.cast(missing, y.dtype)), weight


def _missing_labels(loss, y):
    """Which labels mean that there is none, by the loss' `ignore_class` or `is_missing`; None without either."""
    if hasattr(loss, "is_missing"):
        return loss.is_missing(tf.cast(y, tf.float32))
    ignored = getattr(loss, "ignore_class", None)
    return None if ignored is None else tf.cast(y, tf.int64) == ignored


def weighted_sums(
    task: str,
    loss: keras.losses.Loss,
    y: tf.Tensor,
    y_pred: tf.Tensor,
    weight: tf.Tensor | None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return sum(w * l) and sum(w) over the given rows; their quotient is the task's loss.

    Args:
        task: The task's name, for messages.
        loss: The task's loss; its `call` gives one value per row, token or cell.
        y: Labels from `clean_labels`.
        y_pred: Predictions, [B, ...].
        weight: Label weights, 0 where the output is masked, of the values' shape or broadcast to it; None when all
            count.

    Raises:
        ValueError: if the loss gives a scalar, or fewer values than there are weights.
    """
    values, weight = _values_and_weight(loss, y, y_pred, weight)
    mask = keras_mask(values)  # which values count, as `keras.losses.Circle` gives it
    values = tf.cast(values, tf.float32)
    if mask is not None and getattr(loss, "ignore_class", None) is None:  # ignored labels have the weight 0 already
        weight = masked_weight(weight, mask)
    if not values.shape.rank:
        raise ValueError(
            f"`loss['{task}']` must give one value per row, received a scalar from '{loss.name}'. "
            "Take the mean over all axes but the first, so that missing labels can be left out."
        )
    if weight is None:
        return tf.reduce_sum(values), tf.cast(tf.size(values), tf.float32)
    if len(weight.shape) > values.shape.rank and weight.shape[-1] != 1:
        raise ValueError(
            f"`sample_weight['{task}']`, or the mask of the task's output, has shape {tuple(weight.shape)}, but the "
            f"loss '{loss.name}' gives values of shape {tuple(values.shape)}. Give one weight per value, or use a loss "
            "with one value per label, such as tf_mtl.losses.CellwiseBinaryCrossentropy."
        )
    weights = tf.ones_like(values) * tf.cast(match_rank(weight, values.shape.rank), tf.float32)
    return tf.reduce_sum(weights * values), tf.reduce_sum(weights)


def _values_and_weight(loss, y, y_pred, weight):
    """The values of a loss, and their weight: one of each per row for rows of parts."""
    y, y_pred = tf.cast(y, tf.float32), tf.cast(y_pred, tf.float32)
    if not isinstance(loss, PartsLoss):
        return loss.call(y, y_pred), weight
    return loss.call(y, y_pred, weight), None if weight is None else loss.row_weight(weight)


def bad_rows(loss: keras.losses.Loss, y: tf.Tensor, y_pred: tf.Tensor, weight: tf.Tensor | None) -> tf.Tensor:
    """Return which rows have a weighted loss that is NaN or infinite, [B]; arguments as for `weighted_sums`."""
    values, weight = _values_and_weight(loss, y, y_pred, weight)
    values = tf.cast(values, tf.float32)
    if weight is not None:
        values *= tf.cast(match_rank(weight, values.shape.rank), tf.float32)
    return tf.reduce_any(~tf.math.is_finite(values), list(range(1, values.shape.rank)))
