"""Sentences with tags for their words, from CoNLL-style files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from tf_mtl.data._records import read_lines, records, split_blanks

_WORDS_AND_ENTITIES = {"words": 0, "entities": -1}


def from_conll(
    path: str | Path, columns: Mapping[str, int] = _WORDS_AND_ENTITIES, encoding: str = "utf-8"
) -> tf.data.Dataset:
    """Read a file with one word and its tags a line, and an empty line between sentences.

    Columns are separated by tabs if the file has tabs, otherwise by blanks. Lines that begin with -DOCSTART- are
    skipped, and in CoNLL-U files (".conllu") comments, multiword tokens ("1-2") and empty nodes ("1.1"). Elsewhere a
    line that begins with "#" is a comment if the file has tabs and it has none, and in a file without tabs if it begins
    with "# " ahead of a sentence's first word; otherwise "#" is a word.

    Args:
        path: The file, which may be gzipped (".gz").
        columns: `{field: column}`, counted from 0, or from the last one backwards with -1, -2 and so on. By default
            the first column is "words" and the last one "entities". Universal Dependencies have the words in column
            1 and the universal parts of speech in 3.
        encoding: The encoding of the file.

    Returns:
        A data set of rows {field: string tensor [words]}, one for each sentence, in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a line with too few columns or nothing in the last, which the message names, a file without
            sentences or in another encoding, and for no columns.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "train.conll"
    >>> _ = path.write_text("Ada B-person\\nspoke O\\n\\nAsk O\\nAda B-person\\n")
    >>> for row in mtl.data.from_conll(path):
    ...     print(row["words"].numpy().tolist(), row["entities"].numpy().tolist())
    [b'Ada', b'spoke'] [b'B-person', b'O']
    [b'Ask', b'Ada'] [b'O', b'B-person']
    """
    if not columns:
        raise ValueError("`columns` must name at least one field, received none. Give {field: column}.")
    forward = max([column + 1 for column in columns.values() if column >= 0], default=0)
    backward = max([-column for column in columns.values() if column < 0], default=0)
    fields = {field: [[]] for field in columns}
    for number, cells in _lines(path, encoding):
        if cells and len(cells) < forward + backward:
            raise ValueError(
                f"{path}, line {number} has {len(cells)} column{'s' * (len(cells) > 1)}, but `columns` {dict(columns)} "
                f"needs {forward + backward}. Mend the line, or name other columns."
            )
        cut = [field for field, column in columns.items() if cells and column % len(cells) == len(cells) - 1]
        if cut and not cells[-1]:
            raise ValueError(f"{path}, line {number} ends ahead of the column of '{cut[0]}'. Mend the line.")
        for field, sentences in fields.items():
            if cells:
                sentences[-1].append(cells[columns[field]])
            elif sentences[-1]:
                sentences.append([])
    for sentences in fields.values():
        if not sentences[-1]:
            sentences.pop()
    if not all(fields.values()):
        raise ValueError(f"{path} has no sentences: it must have one word a line. Check the path.")
    return records(fields)


def _lines(path: str | Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, columns) of the lines that hold a word, and no columns for empty lines."""
    universal = Path(path).name.removesuffix(".gz").endswith(".conllu")
    lines = read_lines(path, encoding)
    tabs = any("\t" in line for line in lines if not line.startswith("#"))
    inside = False
    for number, line in enumerate(lines, 1):
        comment = universal or ("\t" not in line if tabs else not inside and line.startswith("# "))
        if (line.startswith("#") and comment) or line.startswith("-DOCSTART-"):
            continue
        inside = bool(line.strip())
        cells = [] if not inside else line.split("\t") if tabs else split_blanks(line)
        if not (universal and inside and not cells[0].isdecimal()):
            yield number, cells
