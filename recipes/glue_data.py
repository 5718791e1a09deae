"""Five data sets of GLUE: CoLA, SST-2, MRPC, STS-B and RTE, from GLUE's own folders or from TFDS."""

import csv
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

import tf_mtl as mtl

TFDS = Path("tfds")
TEXTS = ("first", "second")  # the fields of the texts; a single text has the first only
PARTS = {"train": "train", "dev": "validation"}  # in the files' names, and in TFDS
SMOKE_ROWS = {"train": 200, "dev": 64}


@dataclass(frozen=True)
class GlueSet:
    """A data set, which has the labels of one task.

    Attributes:
        folder: Its folder.
        texts: The columns of the text, or of both texts of a pair, in its files.
        label: The column of the label in its files.
        labels: The names of the classes, of which the files may have the indices; () for scores.
        columns: All columns of files without a line of names.
    """

    folder: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None


SETS = {
    "cola": GlueSet(
        "CoLA", ("sentence",), "label", ("unacceptable", "acceptable"), ("source", "label", "mark", "sentence")
    ),
    "sst2": GlueSet("SST-2", ("sentence",), "label", ("negative", "positive")),
    "mrpc": GlueSet("MRPC", ("#1 String", "#2 String"), "Quality", ("not_equivalent", "equivalent")),
    "stsb": GlueSet("STS-B", ("sentence1", "sentence2"), "score"),
    "rte": GlueSet("RTE", ("sentence1", "sentence2"), "label", ("entailment", "not_entailment")),
}

Rows = dict[str, dict[str, tf.data.Dataset]]  # by task and part


def load(source: Path, smoke: bool) -> Rows:
    """Return `{task: {part: records}}`.

    Args:
        source: The folder that has the data sets' folders, or `TFDS`.
        smoke: Whether to take only a few hundred records.
    """
    read = _from_tfds if source == TFDS else _from_files
    records = {task: {part: read(source, task, part) for part in PARTS} for task in SETS}
    if not smoke:
        return records
    return {
        task: {part: parts[part].take(rows) for part, rows in SMOKE_ROWS.items()} for task, parts in records.items()
    }


def texts(records: Rows) -> tf.data.Dataset:
    """Return all texts of the training data."""
    return functools.reduce(
        tf.data.Dataset.concatenate,
        (
            parts["train"].map(lambda record, field=field: record[field])
            for parts in records.values()
            for field in TEXTS
            if field in parts["train"].element_spec
        ),
    )


def tasks(records: Rows) -> list[mtl.tasks.Task]:
    """Return the five tasks; similarity is scaled by the scores of the training data."""
    scores = np.array([record["stsb"] for record in records["stsb"]["train"].as_numpy_iterator()])
    return [
        mtl.tasks.Classification(task, labels=glue_set.labels, dropout=0.1)
        if glue_set.labels
        else mtl.tasks.Regression(task, scale=scores.std(), offset=scores.mean(), low=0, high=5, dropout=0.1)
        for task, glue_set in SETS.items()
    ]


def encode(records: Rows, preprocessor: mtl.text.TextPreprocessor, tasks: Iterable[mtl.tasks.Task]) -> Rows:
    """Return `{task: {part: rows}}`, encoded for training."""
    return {
        task.name: {
            part: mtl.data.encode_text(
                dataset, preprocessor, [task], text=TEXTS if len(SETS[task.name].texts) == 2 else TEXTS[0]
            )
            for part, dataset in records[task.name].items()
        }
        for task in tasks
    }


def _from_tfds(source: Path, task: str, part: str) -> tf.data.Dataset:
    texts = SETS[task].texts
    features = ("sentence",) if len(texts) == 1 else ("sentence1", "sentence2")
    columns = dict(zip(TEXTS, features, strict=False)) | {task: "label"}
    return mtl.data.from_tfds(f"glue/{task}", PARTS[part], columns)


def _from_files(folder: Path, task: str, part: str) -> tf.data.Dataset:
    glue_set = SETS[task]
    columns = dict(zip(TEXTS, glue_set.texts, strict=False)) | {task: glue_set.label}
    records = mtl.data.from_csv(
        folder / glue_set.folder / f"{part}.tsv",
        columns,
        names=glue_set.columns,
        strings=list(columns) if glue_set.labels else TEXTS,
        delimiter="\t",
        quoting=csv.QUOTE_NONE,
    )
    return records.map(lambda record: {**record, task: _named(record[task], glue_set.labels)})


def _named(label: tf.Tensor, labels: Iterable[str]) -> tf.Tensor:
    """Return a label, by its name if it is the index of one."""
    for index, name in enumerate(labels):
        label = tf.where(label == str(index), name, label)
    return label
