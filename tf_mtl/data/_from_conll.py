"""Sentences with tags for their words, from CoNLL-style files."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf

from tf_mtl.data._records import read_lines, record_dataset, split_at_blanks

_WORDS_AND_ENTITIES = {"words": 0, "entities": -1}


def from_conll(
    path: str | Path, columns: Mapping[str, int] = _WORDS_AND_ENTITIES, encoding: str = "utf-8"
) -> tf.data.Dataset:
    """Read a file with one word and its tags per line, and an empty line between sentences.

    Columns are separated by tabs if the file has tabs, otherwise by blanks. Lines that begin with -DOCSTART- are
    skipped. In CoNLL-U files (".conllu"), comments, multiword tokens ("1-2") and empty nodes ("1.1") are skipped too.
    In other files, a line that begins with "#" is a comment in two cases: the file has tabs but the line has none, or
    the file has no tabs and the line begins with "# " before a sentence's first word. Otherwise "#" is a word.

    Args:
        path: The file, which may be gzipped (".gz").
        columns: `{field: column}`, counted from 0, or backwards from the last column with -1, -2 and so on. By default
            the first column is "words" and the last is "entities". Universal Dependencies have the words in column 1
            and the universal parts of speech in column 3.
        encoding: The encoding of the file.

    Returns:
        A data set of rows {field: string tensor [words]}, one per sentence, in the order of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: for a line with too few columns or an empty last column (the message names the line), a file without
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
    fields: dict[str, list[list[str]]] = {field: [[]] for field in columns}
    for number, cells in _lines(path, encoding):
        if cells and len(cells) < forward + backward:
            raise ValueError(
                f"{path}, line {number} has {len(cells)} column{'s' * (len(cells) > 1)}, but `columns` {dict(columns)} "
                f"needs {forward + backward}. Fix the line, or name other columns."
            )
        in_last_column = [field for field, column in columns.items() if cells and column % len(cells) == len(cells) - 1]
        if in_last_column and not cells[-1]:
            raise ValueError(f"{path}, line {number} ends before the column of '{in_last_column[0]}'. Fix the line.")
        for field, sentences in fields.items():
            if cells:
                sentences[-1].append(cells[columns[field]])
            elif sentences[-1]:
                sentences.append([])
    for sentences in fields.values():
        if not sentences[-1]:
            sentences.pop()
    if not all(fields.values()):
        raise ValueError(f"{path} has no sentences: it must have one word per line. Check the path.")
    return record_dataset(fields)


def _lines(path: str | Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of each line with a word, and of each empty line, which has no cells."""
    is_conllu = Path(path).name.removesuffix(".gz").endswith(".conllu")
    lines = read_lines(path, encoding)
    has_tabs = any("\t" in line for line in lines if not line.startswith("#"))
    in_sentence = False
    for number, line in enumerate(lines, 1):
        may_be_comment = is_conllu or ("\t" not in line if has_tabs else not in_sentence and line.startswith("# "))
        if (line.startswith("#") and may_be_comment) or line.startswith("-DOCSTART-"):
            continue
        in_sentence = bool(line.strip())
        cells = [] if not in_sentence else line.split("\t") if has_tabs else split_at_blanks(line)
        if not (is_conllu and in_sentence and not cells[0].isdecimal()):
            yield number, cells
