"""Three sources for four tasks: rated sentences (domain, polarity), entities, and parts of speech."""

from pathlib import Path

import sentiment_data
import tensorflow as tf

import tf_mtl as mtl

SPLITS = {"train": ("train",), "validation": ("dev", "valid"), "test": ("test",)}
TASKS = {"sentiment": ("domain", "polarity"), "entities": ("entities",), "pos": ("pos",)}
Records = dict[str, dict[str, tf.data.Dataset]]


def load(entities: str, pos: Path, sentiment: Path | None, smoke: bool) -> Records:
    """Return `{source: {split: records}}`.

    Args:
        entities: A folder of CoNLL files, whose last column has BIO tags, or "conll2003" for that of TFDS.
        pos: A folder of CoNLL-U files.
        sentiment: A folder of the sentiment recipe's files; downloaded when left out.
        smoke: Whether to take a few hundred records alone.
    """
    parts = sentiment_data.load(sentiment)
    found = {
        "sentiment": {split: _sentiment(part) for split, part in zip(SPLITS, parts, strict=True)},
        "entities": _entities(entities),
        "pos": {split: mtl.data.from_conll(path, {"words": 1, "pos": 3}) for split, path in _files(pos).items()},
    }
    if not smoke:
        return found
    rows = {"train": 320, "validation": 64, "test": 64}
    return {source: {split: data.take(rows[split]) for split, data in parts.items()} for source, parts in found.items()}


def tasks(records: Records) -> list[mtl.tasks.Task]:
    """Return the four tasks, with the labels that occur in the training data."""
    tags = mtl.data.labels_of(list(records["entities"].values()), "entities", scheme="BIO")
    return [
        mtl.tasks.Classification("domain", labels=sentiment_data.DOMAINS),
        mtl.tasks.Classification("polarity", labels=sentiment_data.POLARITIES),
        mtl.tasks.Tagging("entities", labels=tags, dropout=0.1),
        mtl.tasks.Tagging("pos", labels=mtl.data.labels_of(list(records["pos"].values()), "pos"), scheme="none"),
    ]


def encoded(records: Records, preprocessor: mtl.text.TextPreprocessor, tasks: list[mtl.tasks.Task]) -> Records:
    """Return `{source: {split: rows}}` for training."""
    by_name = {task.name: task for task in tasks}
    return {
        source: {
            split: mtl.data.encode_text(
                data,
                preprocessor,
                [by_name[task] for task in TASKS[source]],
                text="text" if source == "sentiment" else "words",
            )
            for split, data in parts.items()
        }
        for source, parts in records.items()
    }


def _sentiment(part):
    names = {"domain": sentiment_data.DOMAINS, "polarity": sentiment_data.POLARITIES}
    labels = {task: [names[task][i] for i in part.labels[task]] for task in names}
    return tf.data.Dataset.from_tensor_slices({"text": part.text.astype(str), **labels})


def _entities(source):
    if source == "conll2003":
        columns = {"words": "tokens", "entities": "ner"}
        return {
            split: mtl.data.from_tfds("conll2003", name, columns)
            for split, name in zip(SPLITS, ("train", "dev", "test"), strict=True)
        }
    return {
        split: mtl.data.from_conll(path, {"words": 0, "entities": -1}) for split, path in _files(Path(source)).items()
    }


def _files(folder):
    """The file of each split, told by its name; CoNLL-U files alone where there are some."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    files = [path for path in files if ".conllu" in path.name] or files
    found = {}
    for split, words in SPLITS.items():
        fitting = [path for path in files if any(word in path.name.lower() for word in words)]
        if len(fitting) != 1:
            raise ValueError(f"{folder} must hold one file whose name has {' or '.join(words)} in it, not {fitting}.")
        found[split] = fitting[0]
    return found
