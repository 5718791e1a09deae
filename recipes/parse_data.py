"""A treebank of Universal Dependencies: parts of speech, features and dependencies of words, genres of sentences."""

import gzip
from pathlib import Path

import tensorflow as tf

import tf_mtl as mtl

PARTS = {"train": "-train", "validation": "-dev", "test": "-test"}  # words in the files' names
COLUMNS = {"words": 1, "pos": 3, "features": 5, "head": 6, "relation": 7}  # of CoNLL-U
GENRES = ("answers", "email", "newsgroup", "reviews", "weblog")  # how the names of EWT's sentences begin
SMOKE_ROWS = {"train": 320, "validation": 64, "test": 64}


def load(folder: Path, smoke: bool = False) -> dict[str, tf.data.Dataset]:
    """Return `{part: records}`, with the fields words, pos, features, parse ("2:nsubj") and genre.

    The genre is the first part of a sentence's name, `sent_id`, "" if it is not one of `GENRES`.

    Args:
        folder: A folder with a file for each part, `*-train*.conllu`, `*-dev*` and `*-test*`; they may be gzipped.
        smoke: Whether to take only a few hundred sentences.

    Raises:
        ValueError: for a part without a file or with several ones, and for a file that is not CoNLL-U.
    """
    files = {part: _file(folder, word) for part, word in PARTS.items()}
    records = {part: _records(file) for part, file in files.items()}
    return {part: records[part].take(rows) for part, rows in SMOKE_ROWS.items()} if smoke else records


def tasks(records: dict[str, tf.data.Dataset]) -> list[mtl.tasks.Task]:
    """Return the tasks, with the labels that occur in the data; without genres if no sentence has one.

    A label that only test sentences have is never predicted, so it counts as an error.
    """
    parts = list(records.values())
    relations = {
        arc.decode().partition(":")[2] for part in parts for row in part.as_numpy_iterator() for arc in row["parse"]
    }
    word_tasks = [
        mtl.tasks.Tagging("pos", mtl.data.labels_of(parts, "pos"), scheme="none", dropout=0.1),
        mtl.tasks.Tagging("features", mtl.data.labels_of(parts, "features"), scheme="none", dropout=0.1),
        mtl.tasks.DependencyParse("parse", sorted(relations), arc_units=256, label_units=64, dropout=0.1),
    ]
    has_genre = any(row["genre"] for row in records["train"].as_numpy_iterator())
    return [*word_tasks, mtl.tasks.Classification("genre", GENRES, dropout=0.1)] if has_genre else word_tasks


def _file(folder: Path, word: str) -> Path:
    """Return the CoNLL-U file of a part."""
    files = sorted(folder.glob(f"*{word}*.conllu*"))
    if len(files) != 1:
        raise ValueError(
            f"--data {folder} must have one file *{word}*.conllu, which may be gzipped; received "
            f"{[file.name for file in files]}. Rename or remove files."
        )
    return files[0]


def _records(file: Path) -> tf.data.Dataset:
    sentences = mtl.data.from_conll(file, COLUMNS)
    genres = _genres(file)
    if len(genres) != len(sentences):
        raise ValueError(f"{file} has {len(sentences)} sentences, but {len(genres)} groups of lines. Fix the file.")

    def record(sentence, genre):
        arcs = tf.strings.join([sentence["head"], sentence["relation"]], ":")
        return {**{name: sentence[name] for name in ("words", "pos", "features")}, "parse": arcs, "genre": genre}

    return tf.data.Dataset.zip(sentences, tf.data.Dataset.from_tensor_slices(genres)).map(record)


def _genres(file: Path) -> list[str]:
    """Return the genre of each sentence of a file."""
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8") as lines:
        groups = [group for group in lines.read().replace("\r", "").split("\n\n") if group.strip()]
    names = [
        line.partition("=")[2].strip()
        for group in groups
        for line in group.splitlines()
        if line.startswith("# sent_id")
    ]
    return [genre if (genre := name.partition("-")[0]) in GENRES else "" for name in names]
