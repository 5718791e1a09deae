"""From the relations of texts, by name, to a cell for each pair of words."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_indices, text
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords, refuse


def encode_relations(
    task: str, names: Sequence[str], labels: tf.Tensor | tf.RaggedTensor, records: TextRecords
) -> EncodedLabels:
    """Return cells of 0 and 1, int8, ragged [B, (W), (W), R], and one weight for each text.

    Args:
        task: The task's name, for messages.
        names: The names of the relations.
        labels: Relations of each text, [B, n] or ragged: "3:lives_in:7", the last word of the head, the relation, and
            the last word of the tail, with words counted from 0. [""] is a missing label, and other empty strings are
            left out.
        records: What the labels belong to.

    Raises:
        ValueError: for relations of another form, of words that do not exist, and of unknown names.
    """
    if labels.dtype != tf.string:
        raise ValueError(
            f"The labels of task '{task}' must be lists of relations, \"3:lives_in:7\", received {labels.dtype.name}."
        )
    rows = labels.to_list() if isinstance(labels, tf.RaggedTensor) else labels.numpy().tolist()
    counts = records.encoded_counts
    cells, lost = [], 0
    for row, record, word_count, encoded_count in zip(rows, records.numbers, records.word_counts, counts, strict=True):
        of_text = np.zeros((encoded_count, encoded_count, len(names)), "int8")
        for relation in filter(None, map(text, row)):
            head, name, tail = _parts(task, relation, record, word_count)
            index = class_indices(np.array(name), names)
            if index < 0:
                refuse(task, names, name, record)
            if max(head, tail) < encoded_count:
                of_text[head, tail, index] = 1
            else:
                lost += 1
        cells.append(of_text.reshape(-1, len(names)))
    of_words = tf.RaggedTensor.from_row_lengths(np.concatenate(cells), np.repeat(counts, counts))
    is_labelled = [list(row) != [b""] for row in rows]
    return EncodedLabels(tf.RaggedTensor.from_row_lengths(of_words, counts), np.array(is_labelled, "float32"), lost)


def _parts(task, relation, record, words):
    """The head, the name and the tail of a relation."""
    head, _, rest = relation.partition(":")
    name, _, tail = rest.rpartition(":")
    if not (head.isdecimal() and tail.isdecimal() and int(head) < words and int(tail) < words):
        raise ValueError(
            f"Record {record} has the relation '{relation}' of task '{task}'. Give the last word of the head, the "
            f'relation, and the last word of the tail, "3:lives_in:7", counted from 0; the text has {words} words.'
        )
    return int(head), name, int(tail)
