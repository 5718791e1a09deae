"""From spans in byte offsets to spans of words."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl.tasks import SpanExtraction
from tf_mtl.text import TextPreprocessor


class EncodedSpans(NamedTuple):
    """Spans of words.

    Attributes:
        words: The first and the last word, counted from 1, int32 [B, 2]; 0 for no answer and missing labels.
        weights: 0 where the label is missing or lost, float32 [B].
        lost: The number of spans that lie in truncated text.
        widened: The number of spans that were extended to whole words.
    """

    words: np.ndarray
    weights: np.ndarray
    lost: int
    widened: int


def encode_spans(
    task: SpanExtraction, spans: np.ndarray, texts: tf.Tensor, word_counts: np.ndarray, records: np.ndarray
) -> EncodedSpans:
    """Return the words of spans.

    Args:
        task: The task, for messages.
        spans: Begin and end of each row, in bytes, [B, 2]; (0, 0) is no answer, and a negative begin a missing label.
        texts: The texts, [B].
        word_counts: The number of words of each text that are encoded, [B].
        records: The number of each row's record, for messages.

    Raises:
        ValueError: for offsets that are not a span of their text, and for no answer where the task needs one.
    """
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype.kind not in "iu":
        raise ValueError(
            f"The labels of task '{task.name}' must be byte offsets, integers (begin, end), received {spans.dtype} of "
            f"the shape {spans.shape[1:]} per record."
        )
    sizes = tf.strings.length(texts).numpy()
    _, begins, ends = (part.to_tensor().numpy() for part in TextPreprocessor.split(texts))
    words, weights = np.zeros((len(spans), 2), "int32"), np.zeros(len(spans), "float32")
    lost = widened = 0
    for row, (begin, end) in enumerate(spans.tolist()):
        if begin < 0:
            continue
        is_answer = end > begin
        touched = np.flatnonzero((ends[row] > begin) & (begins[row] < end))
        is_allowed = len(touched) > 0 if is_answer else task.no_answer
        if not begin <= end <= sizes[row] or not is_allowed:
            raise ValueError(
                f"Record {records[row]} has the span ({begin}, {end}) of task '{task.name}', which holds no words of "
                f"its first text, of {sizes[row]} bytes. Give (0, 0) for no answer, if the task has no_answer=True, "
                "and a negative begin for a missing label."
            )
        if is_answer and touched[-1] >= word_counts[row]:
            lost += 1
            continue
        weights[row] = 1
        if is_answer:
            words[row] = touched[0] + 1, touched[-1] + 1
            widened += begins[row, touched[0]] != begin or ends[row, touched[-1]] != end
    return EncodedSpans(words, weights, lost, int(widened))
