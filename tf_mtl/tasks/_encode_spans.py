"""From spans in byte offsets to spans of words."""

import numpy as np
import tensorflow as tf

from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords
from tf_mtl.text import TextPreprocessor

_WIDENED = (
    "Spans that do not begin and end with whole words were extended to them: {counts}. If there are many, check that "
    "they are offsets in UTF-8 bytes, not characters, into the first text."
)


def encode_spans(task: str, no_answer: bool, labels: tf.Tensor, records: TextRecords) -> EncodedLabels:
    """Return the first and the last word of spans, counted from 1, int32 [B, 2]; 0 for no answer and missing labels.

    Args:
        task: The task's name, for messages.
        no_answer: Whether a text may have no answer.
        labels: Begin and end of each span, in bytes, [B, 2]; (0, 0) is no answer, and a negative begin a missing label.
        records: What the labels belong to.

    Raises:
        ValueError: for texts that are lists of words, offsets that are not a span of their text, and for no answer
            where the task needs one.
    """
    if isinstance(records.texts, tf.RaggedTensor):
        raise ValueError(
            f"Task '{task}' has spans as labels, in byte offsets, but the texts are lists of words. Pass a field of "
            "whole texts as `text`."
        )
    spans = labels.numpy()
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype.kind not in "iu":
        raise ValueError(
            f"The labels of task '{task}' must be byte offsets, integers (begin, end), received {spans.dtype} of "
            f"the shape {spans.shape[1:]} per record."
        )
    sizes = tf.strings.length(records.texts).numpy()
    _, begins, ends = (part.to_tensor().numpy() for part in TextPreprocessor.split(records.texts))
    words, weights = np.zeros((len(spans), 2), "int32"), np.zeros(len(spans), "float32")
    lost = widened = 0
    for row, (begin, end) in enumerate(spans.tolist()):
        if begin < 0:
            continue
        is_answer = end > begin
        touched = np.flatnonzero((ends[row] > begin) & (begins[row] < end))
        is_allowed = len(touched) > 0 if is_answer else no_answer
        if not begin <= end <= sizes[row] or not is_allowed:
            raise ValueError(
                f"Record {records.numbers[row]} has the span ({begin}, {end}) of task '{task}', which holds no words "
                f"of its first text, of {sizes[row]} bytes. Give (0, 0) for no answer, if the task has no_answer=True, "
                "and a negative begin for a missing label."
            )
        if is_answer and touched[-1] >= records.encoded_counts[row]:
            lost += 1
            continue
        weights[row] = 1
        if is_answer:
            words[row] = touched[0] + 1, touched[-1] + 1
            widened += int(begins[row, touched[0]] != begin or ends[row, touched[-1]] != end)
    return EncodedLabels(words, weights, lost, {_WIDENED: widened})
