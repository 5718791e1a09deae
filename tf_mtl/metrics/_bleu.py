"""BLEU of generated texts."""

import re
from typing import Any

import keras
import tensorflow as tf

from tf_mtl.metrics._text_metric import TextMetric, ngrams

_ORDERS = range(1, 5)
_REPLACED = {"<skipped>": "", "-\n": "", "\n": " ", "&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
_SPLIT = [
    (re.compile(r"""([!-&(-+:-@[-`{-~/])"""), r" \1 "),  # all ASCII punctuation but ' , - .
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])-"), r"\1 - "),
]


@keras.saving.register_keras_serializable("tf_mtl")
class Bleu(TextMetric):
    r"""BLEU of generated texts, from 0 to 100, as sacrebleu gives it by default.

    $$100\,\min\left(1, e^{1 - r/h}\right) \left(p_1\,p_2\,p_3\,p_4\right)^{1/4}$$

    where r and h are the numbers of words of all references and of all generated texts, and $p_n$ is the fraction of
    the generated n-grams of words that their own reference has, too; one that occurs more often than in the reference
    counts as often as there. The k-th order without a match has $p_n = 1 / (2^k t_n)$ instead of 0, with $t_n$ n-grams
    generated (smoothing "exp"). BLEU is 0 without texts, without a match, or if no text has four words.

    Words are those of "13a", the tokenisation of WMT for languages with blanks between words; upper and lower case
    differ. Each text with a weight above 0 counts once, whatever the weight. Does not run under XLA.

    Args:
        name: Name of the metric.
        dtype: The dtype of the result.

    Example:

    >>> metric = mtl.metrics.Bleu()
    >>> metric.update_state(["The cat sat on the mat."], ["The cat sat on a mat."])
    >>> round(float(metric.result()), 2)
    48.89

    Reference: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", ACL 2002; Post, "A
    call for clarity in reporting BLEU scores", WMT 2018.
    """

    def __init__(self, name: str = "bleu", dtype: Any = None):
        super().__init__(1 + 2 * len(_ORDERS), name, dtype)

    @staticmethod
    def _counts(reference, hypothesis):
        reference, hypothesis = _words(reference), _words(hypothesis)
        matches = [(ngrams(hypothesis, n) & ngrams(reference, n)).total() for n in _ORDERS]
        return [len(reference), *matches, *(max(len(hypothesis) - n + 1, 0) for n in _ORDERS)]

    def result(self) -> tf.Tensor:
        """Return the BLEU of all texts added so far."""
        length, matches, totals = tf.split(tf.convert_to_tensor(self.sums), [1, len(_ORDERS), len(_ORDERS)])
        is_missed = tf.cast(matches == 0, tf.float64)
        matches_or_less = tf.where(matches > 0, matches, 0.5 ** tf.cumsum(is_missed))
        log_precisions = tf.math.log(tf.math.divide_no_nan(matches_or_less, totals))
        brevity = tf.minimum(1 - tf.math.divide_no_nan(length[0], totals[0]), 0.0)
        bleu = 100 * tf.exp(brevity + tf.reduce_mean(log_precisions))
        return tf.cast(tf.where(matches[0] > 0, bleu, 0.0), self.dtype)


def _words(text):
    text = text.rstrip()
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    text = f" {text} "
    for pattern, new in _SPLIT:
        text = pattern.sub(new, text)
    return tuple(text.split())
