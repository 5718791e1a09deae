"""From annotated texts to the rows that a model is trained on."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names, nearest
from tf_mtl.tasks import Task, TextRecords
from tf_mtl.text import TextPreprocessor

_BATCH = 1024


def encode_text(
    records: tf.data.Dataset,
    preprocessor: TextPreprocessor,
    tasks: Sequence[Task],
    fields: Mapping[str, str] | None = None,
    text: str | Sequence[str] = "words",
) -> tf.data.Dataset:
    """Turn texts, or lists of words, and their labels into rows for a model of texts.

    All records are read and checked once, and the rows are kept in memory: token ids, and labels as indices into the
    labels of their task. Texts longer than the preprocessor's `length` are truncated together with the labels of their
    words; a warning counts what was lost.

    A preprocessor for pairs of texts takes the fields of both, `text=("question", "sentence")`. Labels of words then
    belong to the first text. The same preprocessor takes the texts of one field as pairs without a second text, so data
    sets of single texts and of pairs can train one model.

    Args:
        records: A data set of rows {field: tensor}, as the readers of `tf_mtl.data` return.
        preprocessor: A `tf_mtl.text` object.
        tasks: The tasks that the records have labels for.
        fields: `{task: field}` for tasks whose labels are in a field of another name. Labels are names, or already
            what the task expects; an empty name, an index below 0 and NaN mean a missing label, and so does a negative
            number of a document for `Matching`. For `MultiLabel` they
            are lists of names: an empty list has none of the labels, and [""] is a missing label. For `SpanExtraction`
            they are byte offsets [2] into the first text, begin and end: (0, 0) is no answer, and a negative begin is a
            missing label. For `DependencyParse` they are an arc for each word, "2:subject": the relation "subject" to
            word 2, counted from 1, with 0 for the root. For `Relations` they are a list of relations of a text,
            "3:lives_in:7": the last word of the head, the relation, and the last word of the tail, counted from 0;
            [""] is a missing label. Spans, arcs and relations to truncated words are lost: they have the weight 0,
            or no cell, and are counted in the warning. For other tasks see their `encode_labels`.
        text: The field of the texts, strings, or of their words, strings [None]. For pairs, the fields of the first
            and the second text.

    Returns:
        A data set of rows (x, {task: y}, {task: weight}) whose sequences are as long as their sentences; batch them
        with `tf_mtl.data.mix` or `tf_mtl.data.batch_by_length`. Weights are 0 where a label is missing.

    Raises:
        ValueError: for unknown fields, two fields without a preprocessor for pairs, a label that is not one of its
            task's, different numbers of tags and words (the messages name the record, counted from 0), tags for texts
            that are not split into words, or no records.

    Example:

    >>> records = tf.data.Dataset.from_tensors({"words": ["in", "Rome"], "entities": ["O", "B-place"]})
    >>> task = mtl.tasks.Tagging("entities", labels=["O", "B-place", "I-place"])
    >>> words = mtl.text.Words.learn(records.map(lambda row: row["words"]), length=8)
    >>> ((x, y, weight),) = mtl.data.encode_text(records, words, [task])
    >>> y["entities"].numpy().tolist(), weight["entities"].numpy().tolist()
    ([0, 1], [1.0, 1.0])
    """
    field_of_task = {task.name: task.name for task in tasks} | dict(fields or {})
    check_names("fields", field_of_task, [task.name for task in tasks])
    texts = _text_fields(text, preprocessor)
    _check_fields(records, (*texts, *field_of_task.values()))
    encoder = _Encoder(preprocessor, tasks, field_of_task, texts)
    parts = [encoder.encode(batch) for batch in map(_ragged_words(records, texts), records.ragged_batch(_BATCH))]
    if not parts:
        raise ValueError("`records` must hold at least one record, received none.")
    encoder.warn_of_truncation()
    encoder.warn_of_remarks()
    columns = tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *parts)
    return tf.data.Dataset.from_tensor_slices(columns).map(_dense).cache()


def _dense(*row):
    """Rows without ragged tensors; those with one ragged axis are dense by now."""
    return tf.nest.map_structure(lambda x: x.to_tensor() if isinstance(x, tf.RaggedTensor) else x, row)


def _text_fields(text: str | Sequence[str], preprocessor: TextPreprocessor) -> tuple[str, ...]:
    """Return the field of the texts, or those of the first and the second text of pairs."""
    if isinstance(text, str):
        return (text,)
    if len(text) != 2:
        raise ValueError(f"`text` must be a field, or the two fields of pairs of texts, received {list(text)}.")
    if preprocessor.pair is None:
        raise ValueError(
            f"`text` has two fields, {list(text)}, but `preprocessor` takes single texts. Create it with `pair`, for "
            f"example pair={tuple(text)}."
        )
    return tuple(text)


def _check_fields(records: tf.data.Dataset, fields: Sequence[str]) -> None:
    spec = records.element_spec
    if not isinstance(spec, Mapping):
        raise ValueError(f"`records` must give rows {{field: tensor}}, received {spec}.")
    for field in fields:
        if field not in spec:
            raise ValueError(f"`records` have no field '{field}'; their fields are {list(spec)}.{nearest(field, spec)}")


def _ragged_words(records: tf.data.Dataset, texts: Sequence[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that makes fields with one value per word ragged.

    `ragged_batch` leaves them dense if their number of words is in the element spec.
    """
    shapes = [shape for shape in (records.element_spec[text].shape for text in texts) if shape.rank]
    per_word = [name for name, spec in records.element_spec.items() if spec.shape in shapes]

    def ragged(batch):
        dense = {name: batch[name] for name in per_word if isinstance(batch[name], tf.Tensor)}
        return {**batch, **{name: tf.RaggedTensor.from_tensor(value) for name, value in dense.items()}}

    return ragged


class _Encoder:
    """Encodes batches of records, and counts the records read and what truncation lost."""

    def __init__(
        self,
        preprocessor: TextPreprocessor,
        tasks: Sequence[Task],
        field_of_task: Mapping[str, str],
        texts: tuple[str, ...],
    ):
        self._preprocessor, self._tasks, self._field_of_task, self._texts = preprocessor, tasks, field_of_task, texts
        self._records = 0
        self._truncated_texts = 0
        self._lost_words = 0
        self._lost_labels: Counter[str] = Counter()
        self._remarks: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def encode(self, batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the rows (x, y, weight) of one batch of records, ragged."""
        words, *second = (self._words(batch[text]) for text in self._texts)
        x = self._preprocessor.encode(words, *second)
        word_counts, encoded_counts = words.row_lengths().numpy(), self._preprocessor.word_counts(x).numpy()
        lost_words = word_counts - encoded_counts
        for second_words in second:
            lost_words += second_words.row_lengths().numpy() - self._preprocessor.word_counts(x, 1).numpy()
        self._truncated_texts += int(np.count_nonzero(lost_words))
        self._lost_words += int(lost_words.sum())
        numbers = self._records + np.arange(len(word_counts))
        self._records += len(numbers)
        records = TextRecords(numbers, batch[self._texts[0]], word_counts, encoded_counts)
        y, weight = {}, {}
        for task in self._tasks:
            labels = task.encode_labels(batch[self._field_of_task[task.name]], records)
            y[task.name], weight[task.name] = labels.values, labels.weights
            self._lost_labels[task.name] += labels.lost
            for remark, count in labels.remarks.items():
                self._remarks[remark][task.name] += count
        return x, y, weight

    def _words(self, texts: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
        return texts if isinstance(texts, tf.RaggedTensor) else self._preprocessor.split(texts).words

    def warn_of_remarks(self) -> None:
        """Warn of what the tasks remarked on labels."""
        for remark, count_of_task in self._remarks.items():
            counts = _counts(count_of_task)
            if counts:
                warnings.warn(remark.format(counts=", ".join(counts)), stacklevel=3)

    def warn_of_truncation(self) -> None:
        """Warn if texts were truncated."""
        if self._truncated_texts:
            kind = "texts" if len(self._texts) == 1 else "pairs of texts"
            labels = _counts(self._lost_labels, "labels of ")
            warnings.warn(
                f"{self._truncated_texts:,} of {self._records:,} {kind} are longer than {self._preprocessor.length} "
                f"tokens and were truncated. Lost: {', '.join([f'{self._lost_words:,} words', *labels])}. To keep "
                "them, use `preprocessor.with_length(n)` with a greater n.",
                stacklevel=3,
            )


def _counts(count_of_task: Mapping[str, int], what: str = "of ") -> list[str]:
    return [f"{count:,} {what}'{task}'" for task, count in count_of_task.items() if count]
