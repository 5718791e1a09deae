"""Three sources for four tasks: rated sentences (domain, polarity), entities, and parts of speech."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import sentiment_data
import tensorflow as tf

import tf_mtl as mtl

PARTS = {"train": ("train",), "validation": ("dev", "valid"), "test": ("test",)}  # words in the files' names
TASKS = {"sentiment": ("domain", "polarity"), "entities": ("entities",), "pos": ("pos",)}
SMOKE_ROWS = {"train": 320, "validation": 64, "test": 64}

Rows = dict[str, dict[str, tf.data.Dataset]]  # by source and part


def load(entities: str, pos: str, sentiment: Path | None, smoke: bool) -> Rows:
    """Return `{source: {part: records}}`.

    Args:
        entities: A folder of CoNLL files with BIO tags in the last column, or "conll2003" for TFDS' data set.
        pos: A folder of CoNLL-U files.
        sentiment: A folder of the sentiment recipe's files; None downloads them.
        smoke: Whether to take only a few hundred records.
    """
    records = {
        "sentiment": _sentiment(sentiment_data.load(sentiment)),
        "entities": _entities(entities),
        "pos": {
            part: mtl.data.from_conll(file, {"words": 1, "pos": 3}) for part, file in _part_files(Path(pos)).items()
        },
    }
    if not smoke:
        return records
    return {
        source: {part: parts[part].take(rows) for part, rows in SMOKE_ROWS.items()} for source, parts in records.items()
    }


def tasks(records: Rows) -> list[mtl.tasks.Task]:
    """Return the four tasks, with the labels that occur in the data."""
    tags = mtl.data.labels_of(list(records["entities"].values()), "entities", scheme="BIO")
    return [
        mtl.tasks.Classification("domain", labels=sentiment_data.DOMAINS),
        mtl.tasks.Classification("polarity", labels=sentiment_data.POLARITIES),
        mtl.tasks.Tagging("entities", labels=tags, dropout=0.1),
        mtl.tasks.Tagging("pos", labels=mtl.data.labels_of(list(records["pos"].values()), "pos"), scheme="none"),
    ]


def encode(records: Rows, preprocessor: mtl.text.TextPreprocessor, tasks: Iterable[mtl.tasks.Task]) -> Rows:
    """Return `{source: {part: rows}}`, encoded for training."""
    by_name = {task.name: task for task in tasks}
    return {
        source: {
            part: mtl.data.encode_text(
                dataset,
                preprocessor,
                [by_name[task] for task in TASKS[source]],
                text="text" if source == "sentiment" else "words",
            )
            for part, dataset in parts.items()
        }
        for source, parts in records.items()
    }


def _sentiment(parts: Sequence[sentiment_data.Sentences]) -> dict[str, tf.data.Dataset]:
    names = {"domain": sentiment_data.DOMAINS, "polarity": sentiment_data.POLARITIES}
    records = {}
    for part, sentences in zip(PARTS, parts, strict=True):
        labels = {task: [names[task][index] for index in sentences.labels[task]] for task in names}
        records[part] = tf.data.Dataset.from_tensor_slices({"text": sentences.text.astype(str), **labels})
    return records


def _entities(source: str) -> dict[str, tf.data.Dataset]:
    if source == "conll2003":
        columns = {"words": "tokens", "entities": "ner"}
        splits = {"train": "train", "validation": "dev", "test": "test"}
        return {part: mtl.data.from_tfds("conll2003", split, columns) for part, split in splits.items()}
    files = _part_files(Path(source))
    return {part: mtl.data.from_conll(file, {"words": 0, "entities": -1}) for part, file in files.items()}


def _part_files(folder: Path) -> dict[str, Path]:
    """Return the file of each part, which its name shows; only CoNLL-U files if the folder has any."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    files = [file for file in files if ".conllu" in file.name] or files
    by_part = {}
    for part, words in PARTS.items():
        matches = [file for file in files if any(word in file.name.lower() for word in words)]
        if len(matches) != 1:
            raise ValueError(
                f"{folder} must have one file with {' or '.join(words)} in its name, received "
                f"{[file.name for file in matches]}. Rename or remove files."
            )
        by_part[part] = matches[0]
    return by_part
