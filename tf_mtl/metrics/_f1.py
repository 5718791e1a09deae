"""F1 from class indices and from multi-label logits, with missing labels."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl._shapes import match_rank, weight_per_label


class _F1(keras.metrics.Metric):
    """Counts true positives, false positives and false negatives of each class."""

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, num_classes: int, name: str, dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        self.true_positives, self.false_positives, self.false_negatives = (
            self.add_variable((num_classes,), "zeros", name=count)
            for count in ("true_positives", "false_positives", "false_negatives")
        )

    def _count(self, true, predicted, weight):
        """Add a batch. `true` and `predicted` are floats [N, C], and `weight` is a float [N, C] or [N, 1]."""
        self.true_positives.assign_add(tf.reduce_sum(weight * true * predicted, 0))
        self.false_positives.assign_add(tf.reduce_sum(weight * (1 - true) * predicted, 0))
        self.false_negatives.assign_add(tf.reduce_sum(weight * true * (1 - predicted), 0))

    def _macro(self):
        tp, fp, fn = (
            tf.convert_to_tensor(v) for v in (self.true_positives, self.false_positives, self.false_negatives)
        )
        return tf.reduce_mean(tf.math.divide_no_nan(2 * tp, 2 * tp + fp + fn))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable("tf_mtl")
class MacroF1(_F1):
    """Mean over the classes of F1 = 2 TP / (2 TP + FP + FN), from class indices.

    The F1 of a class that never occurs is 0. `keras.metrics.F1Score` accepts one-hot labels only.

    Args:
        num_classes: Number of classes C.
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.MacroF1(num_classes=2)
    >>> metric.update_state(np.array([0, 1, 1]), np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(self, num_classes: int, name: str = "macro_f1", dtype: Any = None):
        super().__init__(num_classes, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [...] or [..., 1] and scores [..., C]; weights have the labels' shape, or are [B]."""
        y_true, y_pred = tf.cast(y_true, tf.int32), tf.convert_to_tensor(y_pred)
        weight = tf.ones_like(y_true, tf.float32)
        if sample_weight is not None:
            weight = weight_per_label(tf.cast(sample_weight, tf.float32), y_true, y_pred)
        self._count(
            tf.one_hot(tf.reshape(y_true, [-1]), self.num_classes),
            tf.one_hot(tf.reshape(tf.argmax(y_pred, -1), [-1]), self.num_classes),
            tf.reshape(weight, [-1, 1]),
        )

    def result(self) -> tf.Tensor:
        """Return the mean F1 over the classes."""
        return self._macro()


class AveragedF1(_F1):
    """F1 of binary predictions, pooled over the classes ("micro") or their mean ("macro").

    Raises:
        ValueError: if `average` is neither "micro" nor "macro".
    """

    def __init__(self, num_classes: int, average: str, threshold: float, name: str, dtype: Any):
        if average not in ("micro", "macro"):
            raise ValueError(f"`average` must be 'micro' or 'macro', received {average!r}.")
        super().__init__(num_classes, name, dtype)
        self.average = average
        self.threshold = threshold

    def result(self) -> tf.Tensor:
        """Return the pooled F1, or the mean over the classes."""
        if self.average == "macro":
            return self._macro()
        tp, fp, fn = (tf.reduce_sum(v) for v in (self.true_positives, self.false_positives, self.false_negatives))
        return tf.math.divide_no_nan(2 * tp, 2 * tp + fp + fn)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "average": self.average, "threshold": self.threshold}


@keras.saving.register_keras_serializable("tf_mtl")
class MultiLabelF1(AveragedF1):
    """F1 from multi-label logits, with weights for rows or for single cells.

    Args:
        num_classes: Number of classes C.
        average: "micro" pools the cells of all classes, "macro" takes the mean over the classes.
        threshold: The smallest probability for which a class is predicted.
        name: Name of the metric; None for "micro_f1" or "macro_f1".
        dtype: The dtype of the result.

    Raises:
        ValueError: if `average` is neither "micro" nor "macro".

    Example:

    >>> metric = mtl.metrics.MultiLabelF1(num_classes=2)
    >>> metric.update_state(np.array([[1.0, 0.0]]), np.array([[3.0, 1.0]]))
    >>> round(float(metric.result()), 4)
    0.6667
    """

    def __init__(
        self,
        num_classes: int,
        average: str = "micro",
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ):
        super().__init__(num_classes, average, threshold, name or f"{average}_f1", dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add labels [..., C] and logits [..., C]; weights are [B], [...] or [..., C]."""
        true = tf.cast(y_true, tf.float32)
        predicted = tf.cast(tf.sigmoid(tf.cast(y_pred, tf.float32)) >= self.threshold, tf.float32)
        weight = tf.ones_like(true)
        if sample_weight is not None:
            weight *= match_rank(tf.cast(sample_weight, tf.float32), len(true.shape))
        self._count(*(tf.reshape(cells, [-1, self.num_classes]) for cells in (true, predicted, weight)))
