"""From annotated texts to the rows that a model is trained on."""

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tf_mtl._label_names import class_cells, class_indices
from tf_mtl._names import check_names, nearest
from tf_mtl.data._encode_spans import encode_spans
from tf_mtl.tasks import Task
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
            what the task expects; an empty name, an index below 0 and NaN mean a missing label. For `MultiLabel` they
            are lists of names: an empty list has none of the labels, and [""] is a missing label. For `SpanExtraction`
            they are byte offsets [2] into the first text, begin and end: (0, 0) is no answer, and a negative begin is a
            missing label. Spans that are truncated, and thus lost, have the weight 0 and are counted in the warning.
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
    encoder.warn_of_spans()
    columns = tf.nest.map_structure(lambda *pieces: tf.concat(pieces, 0), *parts)
    rows = tf.data.Dataset.from_tensor_slices(columns).map(lambda *row: row)  # the map makes tensors of ragged rows
    return rows.cache()


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


class _Labels(NamedTuple):
    """Labels as a task's loss expects them, 0 where missing, and float32 weights that are 0 where missing."""

    values: np.ndarray
    weights: np.ndarray


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
        self._widened_spans: Counter[str] = Counter()

    def encode(self, batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Return the rows (x, y, weight) of one batch of records, ragged."""
        has_words = isinstance(batch[self._texts[0]], tf.RaggedTensor)
        words, *second = (self._words(batch[text]) for text in self._texts)
        x = self._preprocessor.encode(words, *second)
        word_counts = words.row_lengths().numpy()
        encoded_counts = self._preprocessor.word_counts(x).numpy()
        records = self._records + np.arange(len(word_counts))
        # Of all words in the batch, in order: the record of each, and whether it is encoded.
        word_records = np.repeat(records, word_counts)
        positions = np.arange(word_counts.sum()) - np.repeat(np.cumsum(word_counts) - word_counts, word_counts)
        is_encoded = positions < np.repeat(encoded_counts, word_counts)
        self._records += len(records)
        lost_words = word_counts - encoded_counts
        for second_words in second:
            lost_words += second_words.row_lengths().numpy() - self._preprocessor.word_counts(x, 1).numpy()
        self._truncated_texts += int(np.count_nonzero(lost_words))
        self._lost_words += int(lost_words.sum())

        y, weight = {}, {}
        for task in self._tasks:
            labels = batch[self._field_of_task[task.name]]
            if task.labels_are_spans:
                y[task.name], weight[task.name] = self._spans(task, batch, labels.numpy(), encoded_counts, records)
            elif task.labels_are_lists and labels.dtype == tf.string:
                y[task.name], weight[task.name] = _encode_lists(task, labels, records)
            elif isinstance(labels, tf.RaggedTensor):
                _check_one_label_per_word(task, labels.row_lengths().numpy(), word_counts, records, has_words)
                encoded = _encode_labels(task, labels.flat_values.numpy(), word_records)
                self._lost_labels[task.name] += int(encoded.weights[~is_encoded].sum())
                y[task.name], weight[task.name] = (
                    tf.RaggedTensor.from_row_lengths(part[is_encoded], encoded_counts) for part in encoded
                )
            else:
                y[task.name], weight[task.name] = _encode_labels(task, labels.numpy(), records)
        return x, y, weight

    def _words(self, texts: tf.Tensor | tf.RaggedTensor) -> tf.RaggedTensor:
        return texts if isinstance(texts, tf.RaggedTensor) else self._preprocessor.split(texts).words

    def _spans(self, task, batch, spans, encoded_counts, records):
        """The first and the last word of spans in byte offsets of the first text, and weights."""
        texts = batch[self._texts[0]]
        if isinstance(texts, tf.RaggedTensor):
            raise ValueError(
                f"Task '{task.name}' has spans as labels, in byte offsets, but the texts are lists of words. Pass a "
                "field of whole texts as `text`."
            )
        encoded = encode_spans(task, spans, texts, encoded_counts, records)
        self._lost_labels[task.name] += encoded.lost
        self._widened_spans[task.name] += encoded.widened
        return encoded.words, encoded.weights

    def warn_of_spans(self) -> None:
        """Warn if spans did not begin and end with words."""
        widened = [f"{count:,} of '{task}'" for task, count in self._widened_spans.items() if count]
        if widened:
            warnings.warn(
                f"Spans that do not begin and end with whole words were extended to them: {', '.join(widened)}. If "
                "there are many, check that they are offsets in UTF-8 bytes, not characters, into the first text.",
                stacklevel=3,
            )

    def warn_of_truncation(self) -> None:
        """Warn if texts were truncated."""
        if self._truncated_texts:
            kind = "texts" if len(self._texts) == 1 else "pairs of texts"
            labels = [f"{count:,} labels of '{task}'" for task, count in self._lost_labels.items() if count]
            warnings.warn(
                f"{self._truncated_texts:,} of {self._records:,} {kind} are longer than {self._preprocessor.length} "
                f"tokens and were truncated. Lost: {', '.join([f'{self._lost_words:,} words', *labels])}. To keep "
                "them, use `preprocessor.with_length(n)` with a greater n.",
                stacklevel=3,
            )


def _check_one_label_per_word(task, label_counts, word_counts, records, has_words):
    if not has_words:
        raise ValueError(
            f"Task '{task.name}' has one label per word, but the texts are not split into words. Name the field of the "
            "words as `text`."
        )
    wrong = np.flatnonzero(label_counts != word_counts)
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"Record {records[row]} has {word_counts[row]} words, but {label_counts[row]} labels of task "
            f"'{task.name}'. Give one label per word, \"\" where it is missing."
        )


def _encode_labels(task: Task, labels: np.ndarray, records: np.ndarray) -> _Labels:
    """Return the encoded labels of a task, each of which belongs to the record of that number."""
    if labels.dtype == object:
        return _encode_names(task, labels, records)
    return _encode_numbers(task, labels, records)


def _encode_names(task: Task, names: np.ndarray, records: np.ndarray) -> _Labels:
    """Return the class indices of label names; an empty name is a missing label."""
    indices = class_indices(names, task.labels)
    unknown = np.flatnonzero((indices < 0) & (names != b""))
    if len(unknown):
        _refuse(task, names[unknown[0]].decode(errors="replace"), records[unknown[0]])
    return _Labels(np.maximum(indices, 0), (indices >= 0).astype("float32"))


def _encode_lists(task: Task, lists: tf.Tensor | tf.RaggedTensor, records: np.ndarray) -> _Labels:
    """Return a cell per class; an empty list has none of the labels, and one with an empty name is a missing label."""
    rows = lists.to_list() if isinstance(lists, tf.RaggedTensor) else lists.numpy().tolist()
    cells, unknown = class_cells(rows, task.labels)
    for names, record in zip(unknown, records, strict=True):
        if names:
            _refuse(task, names[0], record)
    return _Labels(cells, np.array([b"" not in row for row in rows], "float32"))


def _refuse(task: Task, name: str, record: int) -> None:
    labels = list(task.labels)
    raise ValueError(
        f"Record {record} has the label '{name}', which is not one of task '{task.name}', {labels}."
        f"{nearest(name, labels)} tf_mtl.data.labels_of collects the labels of several data sets."
    )


def _encode_numbers(task: Task, values: np.ndarray, records: np.ndarray) -> _Labels:
    """Return numeric labels; NaN is a missing label, and so is a class index below 0."""
    classes = list(task.labels) if values.ndim == 1 else []
    if classes != [str(index) for index in range(len(classes))] and any(map(_is_number, classes)):
        raise ValueError(
            f"The labels of task '{task.name}' are {classes}, and its field holds numbers, which may be names or "
            "indices. If they are names, read the field as text: from_csv(..., strings=[field])."
        )
    is_labelled = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if classes:
        is_labelled &= values >= 0
        too_large = np.flatnonzero(is_labelled & (values >= len(classes)))
        if len(too_large):
            raise ValueError(
                f"Record {records[too_large[0]]} has the label {values[too_large[0]]}, but task '{task.name}' has the "
                f"{len(classes)} labels {classes}, counted from 0."
            )
    return _Labels(np.where(is_labelled, values, 0).astype(values.dtype), is_labelled.astype("float32"))


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
