"""From annotated texts to the rows that a model is trained on."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names, nearest
from tf_mtl.tasks import Task
from tf_mtl.text import TextPreprocessor

_BATCH = 1024


def encode_text(
    records: tf.data.Dataset,
    preprocessor: TextPreprocessor,
    tasks: Sequence[Task],
    fields: Mapping[str, str] | None = None,
    text: str = "words",
) -> tf.data.Dataset:
    """Turn texts, or lists of words, and their labels into rows for a model of texts.

    Everything is read and checked once, and kept in memory: tokens, and labels as the indices that they have in their
    task. A sentence that is longer than the preprocessor takes is cut, with the labels of the words that are lost; a
    warning says how many.

    Args:
        records: A data set of rows {field: tensor}, as the readers of `tf_mtl.data` give them.
        preprocessor: A `tf_mtl.text` object.
        tasks: The tasks that the records have labels for.
        fields: `{task: field}`, where a task's labels lie in a field of another name. Labels are names, or already
            what the task takes; an empty name, an index below 0, and NaN stand for a missing label.
        text: The field of the texts, strings, or of their words, strings [None].

    Returns:
        A data set of rows (x, {task: y}, {task: weight}) whose sequences are as long as their sentences: for batches
        give it to `tf_mtl.data.mix` or `tf_mtl.data.batch_by_length`. Weights are 0 where a label is missing.

    Raises:
        ValueError: for unknown fields, a label that is not among its task's, other numbers of tags than of words (the
            messages name the record, from 0), tags for texts that are not split into words, or no record at all.

    Example:

    >>> records = tf.data.Dataset.from_tensors({"words": ["in", "Rome"], "entities": ["O", "B-place"]})
    >>> task = mtl.tasks.Tagging("entities", labels=["O", "B-place", "I-place"])
    >>> words = mtl.text.Words.learn(records.map(lambda row: row["words"]), length=8)
    >>> ((x, y, weight),) = mtl.data.encode_text(records, words, [task])
    >>> y["entities"].numpy().tolist(), weight["entities"].numpy().tolist()
    ([0, 1], [1.0, 1.0])
    """
    fields = {task.name: task.name for task in tasks} | dict(fields or {})
    check_names("fields", fields, [task.name for task in tasks])
    for field in (text, *fields.values()):
        if not isinstance(records.element_spec, Mapping) or field not in records.element_spec:
            raise ValueError(f"The records have no field '{field}', but {records.element_spec}.{_hint(field, records)}")
    parts, lost, first = [], _Lost(), 0
    for batch in map(_ragged_words(records, text), records.ragged_batch(_BATCH)):
        parts.append(_encoded(batch, first, preprocessor, tasks, fields, text, lost))
        first += int(batch[text].shape[0])
    if not parts:
        raise ValueError("The records are empty: there must be one at least.")
    lost.warn(first, preprocessor)
    whole = tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *parts)
    rows = tf.data.Dataset.from_tensor_slices(whole).map(lambda *row: row)  # the map makes tensors of ragged rows
    return rows.cache()


def _ragged_words(records, text):
    """A function that makes ragged what has a value for each word, where `ragged_batch` knows their number."""
    shape = records.element_spec[text].shape
    fixed = [name for name, spec in records.element_spec.items() if shape.rank and spec.shape == shape]

    def ragged(batch):
        dense = {name: batch[name] for name in fixed if isinstance(batch[name], tf.Tensor)}
        return {**batch, **{name: tf.RaggedTensor.from_tensor(value) for name, value in dense.items()}}

    return ragged


def _hint(field, records):
    return nearest(field, records.element_spec) if isinstance(records.element_spec, Mapping) else ""


class _Lost:
    """What was cut off."""

    def __init__(self):
        self.sentences, self.words, self.labels = 0, 0, {}

    def count(self, missing):
        """Add the numbers of words that each sentence lost."""
        self.sentences += int(np.count_nonzero(missing))
        self.words += int(missing.sum())

    def warn(self, sentences, preprocessor):
        """Say it, if there is anything to say."""
        if self.sentences:
            labels = ", ".join(f"{number:,} labels of '{task}'" for task, number in self.labels.items() if number)
            warnings.warn(
                f"{self.sentences:,} of {sentences:,} texts are longer than {preprocessor.length} tokens and were cut: "
                f"{self.words:,} words are lost{', with them ' if labels else ''}{labels}. Give the preprocessor a "
                "greater `length` to keep them.",
                stacklevel=3,
            )


def _encoded(batch, first, preprocessor, tasks, fields, text, lost):
    """The rows of one batch of records, ragged."""
    split = isinstance(batch[text], tf.RaggedTensor)
    words = batch[text] if split else preprocessor.split(batch[text]).words
    x = preprocessor.encode(words)
    lengths, kept = words.row_lengths().numpy(), preprocessor.word_counts(x).numpy()
    lost.count(lengths - kept)
    y, weight = {}, {}
    for task in tasks:
        labels = batch[fields[task.name]]
        per_word = isinstance(labels, tf.RaggedTensor)
        if per_word:
            _check_lengths(task, labels.row_lengths().numpy(), lengths, first, split)
        flat = (labels.flat_values if per_word else labels).numpy()
        rows = np.repeat(np.arange(len(lengths)), lengths) if per_word else np.arange(len(lengths))
        values, there = (
            _indices(task, flat, first + rows) if flat.dtype == object else _numbers(task, flat, first + rows)
        )
        if per_word:
            stays = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths) < np.repeat(
                kept, lengths
            )
            lost.labels[task.name] = lost.labels.get(task.name, 0) + int(there[~stays].sum())
            values, there = (tf.RaggedTensor.from_row_lengths(part[stays], kept) for part in (values, there))
        y[task.name], weight[task.name] = values, there
    return x, y, weight


def _check_lengths(task, tags, words, first, split):
    if not split:
        raise ValueError(
            f"Task '{task.name}' has a label for each word, but the texts are not split into words: give the field "
            "with the words as `text`."
        )
    wrong = np.flatnonzero(tags != words)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"Record {first + row} has {words[row]} words, but {tags[row]} labels of task '{task.name}': there must be "
            "one for each word."
        )


def _indices(task, names, rows):
    """Indices of label names, and which there are."""
    known = {name.encode(): index for index, name in enumerate(task.labels)}
    known[b""] = -1
    try:
        found = np.array([known[name] for name in names], "int32")
    except KeyError as unknown:
        place = next(place for place, name in enumerate(names) if name == unknown.args[0])
        name = unknown.args[0].decode(errors="replace")
        labels = list(task.labels)
        raise ValueError(
            f"Record {rows[place]} has the label '{name}', which is not among those of task '{task.name}', {labels}."
            f"{nearest(name, labels)} tf_mtl.data.labels_of collects the labels of several data sets."
        ) from None
    return np.maximum(found, 0), (found >= 0).astype("float32")


def _numbers(task, values, rows):
    """Numbers, and which there are; of classes those from 0."""
    names = list(task.labels) if values.ndim == 1 else []
    if names != [str(place) for place in range(len(names))] and any(map(_is_number, names)):
        raise ValueError(
            f"The labels of task '{task.name}' are {names}, and its field holds numbers: names or indices? Read the "
            "field as text, such as by from_csv(..., strings=[field]), if they are names."
        )
    there = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if names:
        there &= values >= 0
        beyond = np.flatnonzero(there & (values >= len(names)))
        if len(beyond):
            raise ValueError(
                f"Record {rows[beyond[0]]} has the label {values[beyond[0]]}, but task '{task.name}' has the "
                f"{len(names)} labels {names}, from 0."
            )
    return np.where(there, values, 0).astype(values.dtype), there.astype("float32")


def _is_number(name):
    try:
        return float(name) is not None
    except ValueError:
        return False
