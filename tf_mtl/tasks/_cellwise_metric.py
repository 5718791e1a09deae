"""Mean absolute error with weights for rows or for cells."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


class CellwiseMeanAbsoluteError(keras.metrics.Mean):
    """Mean absolute error with weights for rows or for cells; `keras.metrics.MeanAbsoluteError` takes those of rows."""

    _direction = "down"

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B] or [B, D] and predictions [B, D]; weights are [B] or [B, D]."""
        y_pred = tf.convert_to_tensor(y_pred)
        y_true = match_rank(tf.cast(y_true, y_pred.dtype), len(y_pred.shape))
        super().update_state(tf.abs(y_true - y_pred), sample_weight)
