"""chrF of generated texts."""

from typing import Any

import keras
import tensorflow as tf

from tf_mtl.metrics._text_metric import TextMetric, ngrams

_ORDERS = range(1, 7)


@keras.saving.register_keras_serializable("tf_mtl")
class ChrF(TextMetric):
    r"""chrF of generated texts, from 0 to 100, as sacrebleu gives it by default (chrF2).

    $$100\,\frac{5\,P R}{4 P + R}$$

    where P is the fraction of the generated n-grams of characters that their own reference has, too, R the fraction of
    the references' n-grams that were generated, each the mean over n = 1 to 6. Blanks do not count, and upper and lower
    case differ. An n for which no reference or no generated text is long enough is left out. chrF is 0 without texts
    or without a match. It needs no words, and so serves languages without blanks between them, too.

    Each text with a weight above 0 counts once, whatever the weight. Does not run under XLA.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.ChrF()
    >>> metric.update_state(["The cat sat on the mat."], ["The cat sat on a mat."])
    >>> round(float(metric.result()), 2)
    65.8

    Reference: Popović, "chrF: character n-gram F-score for automatic MT evaluation", WMT 2015.
    """

    def __init__(self, name: str = "chrf", dtype: Any = None):
        super().__init__(3 * len(_ORDERS), name, dtype)

    @staticmethod
    def _counts(reference, hypothesis):
        reference, hypothesis = ("".join(text.split()) for text in (reference, hypothesis))
        matches = [(ngrams(hypothesis, n) & ngrams(reference, n)).total() for n in _ORDERS]
        possible, generated = ([max(len(text) - n + 1, 0) for n in _ORDERS] for text in (reference, hypothesis))
        # As in sacrebleu, n-grams count as generated only if the reference is long enough to have any.
        return [*matches, *(g if p else 0 for g, p in zip(generated, possible, strict=True)), *possible]

    def result(self) -> tf.Tensor:
        """Return the chrF of all texts added so far."""
        matches, generated, possible = tf.split(tf.convert_to_tensor(self.sums), 3)
        num_orders = tf.math.count_nonzero(generated * possible, dtype=tf.float64)
        precision, recall = (
            tf.math.divide_no_nan(tf.reduce_sum(tf.math.divide_no_nan(matches, totals)), num_orders)
            for totals in (generated, possible)
        )
        return tf.cast(100 * tf.math.divide_no_nan(5 * precision * recall, 4 * precision + recall), self.dtype)
