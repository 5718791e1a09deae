"""CoNLL04: sentences with entities, and relations between them, in files for multi-head selection.

A line has five columns, separated by tabs: the number of a word, counted from 0; the word; its BIO tag; and two lists
of the same length, the relations whose head (subject) ends with this word, and the last words of their tails. A word
without relations has the lists ['N'] and [its own number]. A line that begins with "#doc", or an empty line, ends a
sentence:

    0	Ann	B-Peop	['Live_In']	[3]
    1	likes	O	['N']	[1]
    2	New	B-Loc	['N']	[2]
    3	York	I-Loc	['N']	[3]
"""

import ast
from dataclasses import dataclass, field
from pathlib import Path

import tensorflow as tf

PARTS = {"train": "train.txt", "validation": "dev.txt", "test": "test.txt"}
NO_RELATION = "N"
SMOKE_ROWS = {"train": 160, "validation": 32, "test": 32}


@dataclass
class _Sentence:
    """The words of a sentence, their tags, and its relations, "head:relation:tail"."""

    words: list[str] = field(default_factory=list)
    entities: list[str] = field(default_factory=list)
    relations: list[str] = field(default_factory=list)


def load(folder: Path, smoke: bool = False) -> dict[str, tf.data.Dataset]:
    """Return `{part: records}`, with the fields words, entities and relations, as `mtl.data.encode_text` takes them.

    Args:
        folder: The folder with train.txt, dev.txt and test.txt.
        smoke: Whether to take only a few sentences.

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: for a line that does not fit; the message names it.
    """
    for name in PARTS.values():
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"--data {folder} must have the files {', '.join(PARTS.values())}, but has no {name}."
            )
    records = {part: _records(_read(folder / name)) for part, name in PARTS.items()}
    return {part: records[part].take(rows) for part, rows in SMOKE_ROWS.items()} if smoke else records


def relation_names(records: tf.data.Dataset) -> list[str]:
    """Return the names of the relations in some records, sorted."""
    relations = [relation for record in records.as_numpy_iterator() for relation in record["relations"]]
    return sorted({relation.decode().split(":", 1)[1].rsplit(":", 1)[0] for relation in relations})


def _records(sentences: list[_Sentence]) -> tf.data.Dataset:
    fields = dict.fromkeys(vars(sentences[0]), tf.TensorSpec([None], tf.string))
    dataset = tf.data.Dataset.from_generator(lambda: map(vars, sentences), output_signature=fields)
    return dataset.apply(tf.data.experimental.assert_cardinality(len(sentences)))


def _read(path: Path) -> list[_Sentence]:
    sentences = [_Sentence()]
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if line.startswith("#doc") or not line.strip():
            sentences.append(_Sentence())
        else:
            _add_word(sentences[-1], line, f"{path}, line {number}")
    sentences = [sentence for sentence in sentences if sentence.words]
    if not sentences:
        raise ValueError(f"{path} has no sentences: it must have one word per line. Check the path.")
    return sentences


def _add_word(sentence: _Sentence, line: str, place: str) -> None:
    """Add the word of a line to a sentence."""
    cells = line.split("\t")
    if len(cells) != 5 or cells[0] != str(len(sentence.words)):
        raise ValueError(
            f"{place} must have five columns, separated by tabs, the first of them {len(sentence.words)}, the number "
            f"of the word; received {line!r}. Fix the line."
        )
    try:
        names, tails = (ast.literal_eval(cell) for cell in cells[3:])
        pairs = list(zip(names, tails, strict=True))
    except (ValueError, TypeError, SyntaxError) as error:
        raise ValueError(
            f"{place} must end with two lists of the same length, relations and last words of their tails; received "
            f"{cells[3]} and {cells[4]}. Fix the line."
        ) from error
    sentence.words.append(cells[1])
    sentence.entities.append(cells[2])
    sentence.relations += [f"{cells[0]}:{name}:{tail}" for name, tail in pairs if name != NO_RELATION]
