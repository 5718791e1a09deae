"""Pearson correlation over a data set."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class Pearson(keras.metrics.Metric):
    r"""Pearson correlation of labels and predictions over all rows seen.

    $$r = \frac{\sum w (y-\bar y)(\hat y-\bar{\hat y})}{\sqrt{\sum w (y-\bar y)^2 \sum w (\hat y-\bar{\hat y})^2}}$$

    Labels and predictions with several columns are treated as one list of pairs. The state consists of sums in float64,
    so that batches and replicas add up exactly. `keras.metrics.PearsonCorrelation` correlates within each row and takes
    the mean. Without variance, the correlation is 0.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.Pearson()
    >>> metric.update_state(np.array([1.0, 2.0, 3.0]), np.array([[2.0], [4.0], [7.0]]))
    >>> round(float(metric.result()), 4)
    0.9934
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, name: str = "pearson", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.sums = self.add_variable((6,), "zeros", dtype="float64", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [B] or [B, D] and predictions [B, D]; weights are [B] or [B, D]."""
        y_pred = tf.cast(y_pred, tf.float64)
        y_true = tf.reshape(tf.cast(y_true, tf.float64), tf.shape(y_pred))
        weight = tf.ones_like(y_pred)
        if sample_weight is not None:
            weight *= match_rank(tf.cast(sample_weight, tf.float64), len(y_pred.shape))
        terms = (1.0, y_true, y_pred, y_true * y_true, y_pred * y_pred, y_true * y_pred)
        self.sums.assign_add(tf.stack([tf.reduce_sum(weight * term) for term in terms]))

    def result(self) -> tf.Tensor:
        """Return the correlation of all pairs added so far."""
        n, y, p, yy, pp, yp = tf.unstack(tf.convert_to_tensor(self.sums))
        covariance = n * yp - y * p
        variances = tf.maximum(n * yy - y * y, 0.0) * tf.maximum(n * pp - p * p, 0.0)
        return tf.cast(tf.math.divide_no_nan(covariance, tf.sqrt(variances)), self.dtype)
