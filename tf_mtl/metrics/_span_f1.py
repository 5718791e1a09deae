"""F1 of the spans in BIO tags."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tf_mtl._bio import Bio
from tf_mtl._shapes import match_rank


@keras.saving.register_keras_serializable("tf_mtl")
class SpanF1(keras.metrics.Metric):
    r"""F1 of spans, where a predicted span is right if its first word, last word and type are right (CoNLL-2003).

    $$F_1 = \frac{2\,\text{right}}{\text{predicted} + \text{labelled}}$$

    over all spans of all sentences; 0 without spans. Malformed tags count as in the CoNLL evaluation: an I-x that does
    not continue a span of type x begins one. Words without a label count as O, in labels and predictions.

    Args:
        labels: The tags, in the order of their indices: "O", "B-x", "I-x", ...
        per_type: Whether the F1 of each type is also reported, as `<name>_<type>`.
        name: Name of the metric.
        dtype: The dtype of the result.

    Raises:
        ValueError: if the labels are not BIO tags.

    Example:

    >>> metric = mtl.metrics.SpanF1(["O", "B-person", "I-person", "B-place"], per_type=True)
    >>> predicted = np.eye(4)[[[1, 2, 0, 0, 3]]]  # scores [B, W, C]
    >>> metric.update_state(np.array([[1, 2, 0, 3, 3]]), predicted)
    >>> {name: round(float(f1), 2) for name, f1 in metric.result().items()}
    {'span_f1': 0.8, 'span_f1_person': 1.0, 'span_f1_place': 0.67}

    Reference: Tjong Kim Sang & De Meulder, "Introduction to the CoNLL-2003 shared task", 2003.
    """

    _direction = "up"  # for callbacks with mode="auto"

    def __init__(self, labels: Sequence[str], per_type: bool = False, name: str = "span_f1", dtype: Any = None):
        super().__init__(name=name, dtype=dtype)
        self.labels, self.per_type = list(labels), per_type
        self._bio = Bio(labels, f"SpanF1 '{name}'")
        self.right, self.predicted, self.labelled = (
            self.add_variable((len(self._bio.types),), "zeros", name=count)
            for count in ("right", "predicted", "labelled")
        )

    @property
    def result_names(self) -> list[str]:
        """The names of the results, in their order."""
        return [self.name, *(f"{self.name}_{kind}" for kind in self._bio.types if self.per_type)]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add tag indices [B, W] and scores [B, W, C]; words of weight 0, [B] or [B, W], have no label."""
        true = tf.cast(tf.reshape(y_true, tf.shape(y_pred)[:2]), tf.int32)
        predicted = tf.argmax(y_pred, -1, tf.int32)
        if sample_weight is not None:
            has_label = match_rank(tf.cast(sample_weight, tf.float32) > 0, 2)
            true, predicted = (tf.where(has_label, tags, self._bio.outside) for tags in (true, predicted))
        true, predicted = self._bio.spans(true), self._bio.spans(predicted)
        same = (true.lengths == predicted.lengths) & (true.types == predicted.types)
        for count, spans, types in (
            (self.right, true.starts & predicted.starts & same, true.types),
            (self.predicted, predicted.starts, predicted.types),
            (self.labelled, true.starts, true.types),
        ):
            by_type = tf.math.unsorted_segment_sum(tf.cast(spans, count.dtype), types, len(self._bio.types))
            count.assign_add(by_type)

    def result(self) -> tf.Tensor | dict[str, tf.Tensor]:
        """Return the F1 over all types; with `per_type`, a dict of it and the F1 of each type."""
        right, spans = (tf.convert_to_tensor(x) for x in (self.right, self.predicted + self.labelled))
        micro = tf.math.divide_no_nan(2 * tf.reduce_sum(right), tf.reduce_sum(spans))
        if not self.per_type:
            return micro
        scores = tf.unstack(tf.math.divide_no_nan(2 * right, spans))
        return dict(zip(self.result_names, [micro, *scores], strict=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "labels": self.labels, "per_type": self.per_type}
