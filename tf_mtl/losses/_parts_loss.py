"""The base of losses of rows whose parts have label weights."""

from abc import abstractmethod
from typing import Any

import keras
import tensorflow as tf


class PartsLoss(keras.losses.Loss):
    """A loss with one value per row, [B], from parts of the row, each of which may have a label weight.

    Within a row, parts count by their weights. `row_weight` says how much the row counts.

    Args:
        name: Name of the loss.
        **kwargs: See `keras.losses.Loss`.
    """

    @abstractmethod
    def call(self, y_true: Any, y_pred: Any, weight: Any = None) -> tf.Tensor:
        """Return one value per row, [B].

        Args:
            y_true: The labels.
            y_pred: The output.
            weight: The label weights, [B] for rows, or of their parts; None where all are 1.
        """

    def row_weight(self, weight: Any) -> tf.Tensor:
        """Return the weight of each row, [B], from label weights; by default the largest of its parts'.

        A row of no parts has the weight 1.
        """
        weight = tf.cast(weight, tf.float32)
        parts = list(range(1, len(weight.shape)))
        has_parts = tf.reduce_prod(tf.shape(weight)[1:]) > 0
        return tf.where(has_parts, tf.reduce_max(weight, parts), 1.0) if parts else weight
