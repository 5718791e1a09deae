"""Questions with sentences that do or do not answer them, in the form of GLUE's QNLI."""

import csv
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf

COLUMNS = ("question", "sentence", "label")
LABELS = ["not_entailment", "entailment"]


class Pair(NamedTuple):
    """A question and a sentence.

    Attributes:
        question: The question.
        sentence: The sentence.
        label: "entailment" if the sentence answers the question, otherwise "not_entailment".
    """

    question: str
    sentence: str
    label: str


def load(folder: Path, smoke: bool) -> dict[str, list[Pair]]:
    """Return the pairs by part, "train" and "test".

    With a train.tsv, dev.tsv is the test part. A dev.tsv alone is split by the questions' hashes, a fifth for testing.

    Args:
        folder: The folder with the files.
        smoke: Whether to return a few hundred pairs only.

    Raises:
        FileNotFoundError: if there is no dev.tsv.
        ValueError: for a file without the columns question, sentence and label.
    """
    if not (folder / "dev.tsv").is_file():
        raise FileNotFoundError(f"--data {folder} must have a file dev.tsv, and may have train.tsv.")
    held_out = _read(folder / "dev.tsv")
    if (folder / "train.tsv").is_file():
        parts = {"train": _read(folder / "train.tsv"), "test": held_out}
    else:
        parts = {
            "train": [pair for pair in held_out if not _is_for_testing(pair)],
            "test": [pair for pair in held_out if _is_for_testing(pair)],
        }
    return {part: pairs[:200] for part, pairs in parts.items()} if smoke else parts


def records(pairs: Iterable[Pair]) -> tf.data.Dataset:
    """Return records with the number of each answering sentence, -1 for others, as the label of `match`."""
    pairs = list(pairs)
    numbers = numbered(pair.sentence for pair in pairs)
    return tf.data.Dataset.from_tensor_slices(
        {
            "question": [pair.question for pair in pairs],
            "sentence": [pair.sentence for pair in pairs],
            "match": [numbers[pair.sentence] if pair.label == "entailment" else -1 for pair in pairs],
            "answered": [pair.label for pair in pairs],
        }
    )


def numbered(sentences: Iterable[str]) -> Mapping[str, int]:
    """Return the different sentences with a number each, in their order."""
    return {sentence: number for number, sentence in enumerate(dict.fromkeys(sentences))}


def _is_for_testing(pair):
    return int(hashlib.md5(pair.question.encode()).hexdigest(), 16) % 5 == 0


def _read(path):
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    if not rows or not set(COLUMNS) <= rows[0].keys():
        raise ValueError(
            f"{path} must have the columns {list(COLUMNS)}, received {list(rows[0]) if rows else 'no rows'}."
        )
    pairs = [Pair(*(row[column] for column in COLUMNS)) for row in rows]
    wrong = next((number for number, pair in enumerate(pairs, 2) if pair.label not in LABELS), None)
    if wrong is not None:
        raise ValueError(
            f"{path}, line {wrong}: the label must be one of {LABELS}, received {pairs[wrong - 2].label!r}."
        )
    return pairs
