"""From the arcs of dependency trees, by name, to heads and relations."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_indices, text
from tf_mtl.tasks._raw_labels import EncodedLabels, TextRecords, check_one_per_word, of_encoded_words, refuse

_CYCLES = "Sentences whose arcs form a cycle are kept, although no tree has such arcs: {counts}."


def encode_arcs(
    task: str, relations: Sequence[str], labels: tf.Tensor | tf.RaggedTensor, records: TextRecords
) -> EncodedLabels:
    """Return heads and relations of words, int32, ragged [B, (W), 2].

    Args:
        task: The task's name, for messages.
        relations: The names of the relations.
        labels: An arc for each word, ragged [B, (W)]: "2:subject" is the relation "subject" to word 2, counted from 1;
            0 is the root, and "" a missing label.
        records: What the labels belong to.

    Raises:
        ValueError: for arcs of another form, to words that do not exist, and of unknown relations.
    """
    if isinstance(labels, tf.Tensor) and labels.shape.rank == 2:
        labels = tf.RaggedTensor.from_tensor(labels)  # all texts have the same number of labels
    if labels.dtype != tf.string or not isinstance(labels, tf.RaggedTensor):
        raise ValueError(
            f"The labels of task '{task}' must be an arc for each word, \"2:subject\", received {labels.dtype.name}."
        )
    check_one_per_word(task, labels, records)
    word_records = np.repeat(records.numbers, records.word_counts)
    arcs = np.array([text(arc) for arc in labels.flat_values.numpy().tolist()], str)
    heads, _, names = np.array([arc.partition(":") for arc in arcs.tolist()], str).reshape(-1, 3).T
    is_labelled = arcs != ""
    wrong = np.flatnonzero(is_labelled & ~np.array([head.isdecimal() and len(head) < 10 for head in heads], bool))
    if len(wrong):
        raise ValueError(
            f"Record {word_records[wrong[0]]} has the arc '{arcs[wrong[0]]}' of task '{task}'. Give the head and the "
            'relation, "2:subject", with words counted from 1, 0 for the root, and "" for a missing label.'
        )
    heads = np.where(is_labelled, heads, "0").astype("int32")
    sizes = np.repeat(records.word_counts, records.word_counts)
    missing = np.flatnonzero(heads > sizes)
    if len(missing):
        word = missing[0]
        raise ValueError(
            f"Record {word_records[word]} has the arc '{arcs[word]}' of task '{task}', but only {sizes[word]} words. "
            "Words are counted from 1, and 0 is the root."
        )
    indices = class_indices(names, relations)
    unknown = np.flatnonzero(is_labelled & (indices < 0))
    if len(unknown):
        refuse(task, relations, names[unknown[0]], word_records[unknown[0]])
    is_kept = is_labelled & (heads <= np.repeat(records.encoded_counts, records.word_counts))
    values = np.where(is_kept[:, None], np.stack([heads, indices], 1), 0).astype("int32")
    lost = int(np.count_nonzero(is_labelled & ~is_kept))
    cycles = sum(map(_has_cycle, np.split(heads, np.cumsum(records.word_counts)[:-1])))
    return of_encoded_words(EncodedLabels(values, is_kept.astype("float32"), lost, {_CYCLES: cycles}), records)


def _has_cycle(heads: np.ndarray) -> bool:
    """Whether some word of a sentence is not below the root."""
    ancestors = np.concatenate([[0], heads])
    for _ in range(max(len(heads), 1).bit_length()):
        ancestors = ancestors[ancestors]
    return bool(ancestors.any())
