"""From the labels of annotated texts to what losses expect."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_cells, class_indices
from tf_mtl._names import nearest


class TextRecords(NamedTuple):
    """The records of annotated texts that a batch of labels belongs to.

    Attributes:
        numbers: The number of each record in its data set, counted from 0, for messages, [B].
        texts: The texts [B], the first ones of pairs, or their words, ragged [B, (W)].
        word_counts: The number of words of each text, [B].
        encoded_counts: The number of words that the model is given, [B]; smaller in truncated texts.
    """

    numbers: np.ndarray
    texts: tf.Tensor | tf.RaggedTensor
    word_counts: np.ndarray
    encoded_counts: np.ndarray


class EncodedLabels(NamedTuple):
    """Labels as a task's loss expects them.

    Attributes:
        values: The labels, [B, ...] or ragged; 0 where one is missing.
        weights: The label weights, float32, 0 where a label is missing or lost.
        lost: The number of labels that are lost with truncated words.
        remarks: What the user is warned of, and how often: messages that contain "{counts}", where `encode_text`
            inserts the number of each task.
    """

    values: np.ndarray | tf.RaggedTensor
    weights: np.ndarray | tf.RaggedTensor
    lost: int = 0
    remarks: Mapping[str, int] = {}


def encode_names_or_numbers(
    task: str, classes: Sequence[str], labels: tf.Tensor | tf.RaggedTensor, records: TextRecords
) -> EncodedLabels:
    """Return class indices, or numbers as they are, of labels for texts or for each of their words.

    Args:
        task: The task's name, for messages.
        classes: The names of its classes; empty for tasks without classes.
        labels: Labels [B, ...], or of words, ragged [B, (W), ...].
        records: What the labels belong to.

    Raises:
        ValueError: for labels that are not classes, and unless there is one label for each word.
    """
    if not isinstance(labels, tf.RaggedTensor):
        return _encode(task, classes, labels.numpy(), records.numbers)
    check_one_per_word(task, labels, records)
    encoded = _encode(task, classes, labels.flat_values.numpy(), np.repeat(records.numbers, records.word_counts))
    return of_encoded_words(encoded, records)


def encode_lists(task: str, classes: Sequence[str], lists: tf.Tensor | tf.RaggedTensor, records: TextRecords):
    """Return a cell per class; an empty list has none of the labels, and one with an empty name is a missing label."""
    rows = lists.to_list() if isinstance(lists, tf.RaggedTensor) else lists.numpy().tolist()
    cells, unknown = class_cells(rows, classes)
    for names, record in zip(unknown, records.numbers, strict=True):
        if names:
            refuse(task, classes, names[0], record)
    return EncodedLabels(cells, np.array([b"" not in row for row in rows], "float32"))


def check_one_per_word(task: str, labels: tf.RaggedTensor, records: TextRecords) -> None:
    """Raise unless there is one label for each word of texts that are given as words."""
    if not isinstance(records.texts, tf.RaggedTensor):
        raise ValueError(
            f"Task '{task}' has one label per word, but the texts are not split into words. Name the field of the "
            "words as `text`."
        )
    counts = labels.row_lengths().numpy()
    wrong = np.flatnonzero(counts != records.word_counts)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"Record {records.numbers[row]} has {records.word_counts[row]} words, but {counts[row]} labels of task "
            f"'{task}'. Give one label per word, \"\" where it is missing."
        )


def of_encoded_words(labels: EncodedLabels, records: TextRecords) -> EncodedLabels:
    """Return labels of words, ragged, without those of truncated words.

    Args:
        labels: Labels of all words of all records, in order.
        records: What they belong to.
    """
    counts = records.word_counts
    positions = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    is_encoded = positions < np.repeat(records.encoded_counts, counts)
    values, weights = (
        tf.RaggedTensor.from_row_lengths(part[is_encoded], records.encoded_counts)
        for part in (labels.values, labels.weights)
    )
    lost = labels.lost + int(np.count_nonzero(labels.weights[~is_encoded]))
    return EncodedLabels(values, weights, lost, labels.remarks)


def refuse(task: str, classes: Sequence[str], name: str, record: int) -> None:
    """Raise for a name that is none of a task's classes."""
    raise ValueError(
        f"Record {record} has the label '{name}', which is not one of task '{task}', {list(classes)}."
        f"{nearest(name, classes)} tf_mtl.data.labels_of collects the labels of several data sets."
    )


def _encode(task, classes, labels, records):
    """The encoded labels of a task, each of which belongs to the record of that number."""
    if labels.dtype == object:
        return _encode_names(task, classes, labels, records)
    return _encode_numbers(task, classes, labels, records)


def _encode_names(task, classes, names, records):
    """The class indices of label names; an empty name is a missing label."""
    indices = class_indices(names, classes)
    unknown = np.flatnonzero((indices < 0) & (names != b""))
    if len(unknown):
        refuse(task, classes, names[unknown[0]].decode(errors="replace"), records[unknown[0]])
    return EncodedLabels(np.maximum(indices, 0), (indices >= 0).astype("float32"))


def _encode_numbers(task, classes, values, records):
    """Numeric labels; NaN is a missing label, and so is a class index below 0."""
    classes = list(classes) if values.ndim == 1 else []
    if classes != [str(index) for index in range(len(classes))] and any(map(_is_number, classes)):
        raise ValueError(
            f"The labels of task '{task}' are {classes}, and its field holds numbers, which may be names or "
            "indices. If they are names, read the field as text: from_csv(..., strings=[field])."
        )
    is_labelled = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if classes:
        is_labelled &= values >= 0
        too_large = np.flatnonzero(is_labelled & (values >= len(classes)))
        if len(too_large):
            raise ValueError(
                f"Record {records[too_large[0]]} has the label {values[too_large[0]]}, but task '{task}' has the "
                f"{len(classes)} labels {classes}, counted from 0."
            )
    return EncodedLabels(np.where(is_labelled, values, 0).astype(values.dtype), is_labelled.astype("float32"))


def _is_number(name):
    try:
        float(name)
    except ValueError:
        return False
    return True
