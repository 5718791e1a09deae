"""Sentences in several languages, a gzip file for each part and language, line by line translations of each other."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

PARTS = ("train", "val", "test_2016_flickr")
SMOKE_ROWS = 300

Sentences = dict[str, list[str]]


def load(folder: Path, languages: Sequence[str], smoke: bool) -> dict[str, Sentences]:
    """Return `{part: {language: sentences}}`, with a few hundred sentences of each part for a smoke test.

    Args:
        folder: The folder with the files `<part>.<language>.gz`.
        languages: The languages to read.
        smoke: Whether it is a smoke test.

    Raises:
        SystemExit: if a language or a file is missing, or files of a part differ in their number of lines.
    """
    there = sorted({path.name.split(".")[-2] for path in folder.glob(f"{PARTS[0]}.*.gz")})
    missing = [language for language in languages if language not in there]
    if missing:
        raise SystemExit(f"{folder} has no file {PARTS[0]}.{missing[0]}.gz; its languages are {there}.")
    absent = [path.name for part in PARTS for path in paths(folder, part, languages).values() if not path.exists()]
    if absent:
        raise SystemExit(f"{folder} has no file {absent[0]}.")
    parts = {}
    for part in PARTS:
        parts[part] = {language: _lines(path) for language, path in paths(folder, part, languages).items()}
        counts = {language: len(lines) for language, lines in parts[part].items()}
        if len(set(counts.values())) > 1:
            raise SystemExit(f"The files of '{part}' must have a line for each sentence, received {counts} lines.")
        if smoke:
            parts[part] = {language: lines[:SMOKE_ROWS] for language, lines in parts[part].items()}
    return parts


def paths(folder: Path, part: str, languages: Sequence[str]) -> dict[str, Path]:
    """Return the file of each language."""
    return {language: folder / f"{part}.{language}.gz" for language in languages}


def records(sentences: Mapping[str, Sequence[str]], fields: Mapping[str, str]) -> tf.data.Dataset:
    """Return rows with a sentence in each field.

    Args:
        sentences: Sentences by language.
        fields: `{field: language}`.
    """
    return tf.data.Dataset.from_tensor_slices({field: list(sentences[language]) for field, language in fields.items()})


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().removesuffix("\n").split("\n")
