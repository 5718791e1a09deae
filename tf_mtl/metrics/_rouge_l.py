"""ROUGE-L of generated texts."""

import unicodedata
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.metrics._text_metric import TextMetric


@keras.saving.register_keras_serializable("tf_mtl")
class RougeL(TextMetric):
    r"""Mean ROUGE-L F1 of generated texts, from 0 to 100, the scale of `Bleu` and `ChrF`.

    $$F_1 = 100\,\frac{2\,\text{common}}{\text{generated} + \text{reference}}$$

    where common is the length of the longest sequence of words that a text and its reference have in common, in this
    order but with gaps, and the others are their numbers of words. The F1 is 0 without a common word; the mean over the
    texts is 0 without texts.

    Words are runs of letters and digits of any script, with their combining marks, in lower case. For ASCII texts this
    is 100 times what the package `rouge_score` gives without stemming; that keeps ASCII letters only, and breaks words
    of other languages. Texts without blanks between words are not split.

    Each text with a weight above 0 counts once, whatever the weight. Does not run under XLA.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.RougeL()
    >>> metric.update_state(["The cat sat on the mat."], ["The cat sat on a mat."])
    >>> round(float(metric.result()), 2)
    83.33

    Reference: Lin, "ROUGE: a package for automatic evaluation of summaries", Text Summarization Branches Out, 2004.
    """

    def __init__(self, name: str = "rouge_l", dtype: Any = None):
        super().__init__(2, name, dtype)

    @staticmethod
    def _counts(reference, hypothesis):
        reference, hypothesis = _words(reference), _words(hypothesis)
        common = _common_length(reference, hypothesis)
        return [2 * common / max(len(reference) + len(hypothesis), 1), 1]

    def result(self) -> tf.Tensor:
        """Return the mean F1 of all texts added so far."""
        f1, texts = tf.unstack(tf.convert_to_tensor(self.sums))
        return tf.cast(100 * tf.math.divide_no_nan(f1, texts), self.dtype)


def _words(text):
    return "".join(c if _is_of_word(c) else " " for c in text.lower()).split()


def _is_of_word(character):
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _common_length(first, second):
    """Length of the longest common subsequence, a bit for each word of `first` (Hyyrö, 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    all_places = unmatched = (1 << len(first)) - 1
    for word in second:
        matched = unmatched & places.get(word, 0)
        unmatched = (unmatched + matched | unmatched - matched) & all_places
    return len(first) - unmatched.bit_count()
