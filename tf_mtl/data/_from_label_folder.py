"""Sentences with slot tags and an intent, from the three files in which ATIS and SNIPS are distributed."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from tf_mtl.data._records import read_lines, record_dataset, split_at_blanks

_FILES = {"words": "seq.in", "slots": "seq.out", "intent": "label"}


def from_label_folder(folder: str | Path) -> tf.data.Dataset:
    """Read the files seq.in (words), seq.out (one slot tag per word) and label (the intent), one sentence per line.

    Intents are kept as written, including double intents such as "atis_flight#atis_airfare". The format is that of
    Goo et al., "Slot-Gated Modeling for Joint Slot Filling and Intent Prediction", 2018.

    Args:
        folder: The folder with the three files, in UTF-8; usually named "train", "valid" or "test".

    Returns:
        A data set of rows {"words": string tensor [words], "slots": string tensor [words], "intent": string scalar},
        in the order of the files.

    Raises:
        FileNotFoundError: if one of the files is missing; the message names it.
        ValueError: if the files differ in their number of lines, the numbers of tags and words of a line differ, or a
            line is empty; the message names the file and the line.

    Example:

    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "seq.in").write_text("fly to boston\\n")
    >>> _ = (folder / "seq.out").write_text("O O B-city\\n")
    >>> _ = (folder / "label").write_text("flight\\n")
    >>> (row,) = mtl.data.from_label_folder(folder)
    >>> row["slots"].numpy().tolist(), row["intent"].numpy()
    ([b'O', b'O', b'B-city'], b'flight')
    """
    folder = Path(folder)
    missing = [name for name in _FILES.values() if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"`folder` must hold the files {list(_FILES.values())}; {folder} has no {missing}. "
            "Give the folder of one split, such as train."
        )
    lines = {field: _lines(folder / name) for field, name in _FILES.items()}
    line_counts = {name: len(lines[field]) for field, name in _FILES.items()}
    if len(set(line_counts.values())) > 1 or not line_counts["label"]:
        raise ValueError(
            f"The files in {folder} must have one line per sentence, received {line_counts} lines. Make them equal."
        )
    fields: dict[str, list[Any]] = {
        "words": [split_at_blanks(line) for line in lines["words"]],
        "slots": [split_at_blanks(line) for line in lines["slots"]],
        "intent": [line.strip() for line in lines["intent"]],
    }
    for number, (words, slots, intent) in enumerate(zip(*fields.values(), strict=True), 1):
        if not words or not intent:
            name = "label" if words else "seq.in"
            raise ValueError(f"{folder / name}, line {number} is empty. Remove the sentence from all three files.")
        if len(words) != len(slots):
            raise ValueError(
                f"{folder / 'seq.out'}, line {number} has {len(slots)} tags, but the same line of seq.in has "
                f"{len(words)} words. Fix the line, or remove the sentence from all three files."
            )
    return record_dataset(fields)


def _lines(path: Path) -> list[str]:
    """Return the lines of a file without the empty lines at its end."""
    lines = read_lines(path, "utf-8")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines
