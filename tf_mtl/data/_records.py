"""Records, the rows {field: tensor} that all readers return, and the lines of text files."""

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def record_dataset(fields: Mapping[str, Sequence[Any] | np.ndarray]) -> tf.data.Dataset:
    """Return a data set of rows {field: tensor} from {field: one value per row}.

    Strings and numbers become scalars, lists of strings become string tensors [None], and lists of arrays become
    tensors whose first axis differs between rows.
    """
    readers = {name: _row_reader(values) for name, values in fields.items()}
    rows = len(next(iter(fields.values())))
    return tf.data.Dataset.range(rows).map(lambda row: {name: read(row) for name, read in readers.items()})


def _row_reader(values: Sequence[Any] | np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a function from a row's index to its value, as a tensor."""
    if isinstance(values, list) and isinstance(values[0], (list, tuple, np.ndarray)):
        if isinstance(values[0], np.ndarray):
            flat = tf.constant(np.concatenate(values))
        else:
            flat = tf.constant([value for row in values for value in row], tf.string)
        ends = tf.constant(np.cumsum([len(row) for row in values]), tf.int64)
        begins = tf.concat([[0], ends[:-1]], 0)
        return lambda row: flat[begins[row] : ends[row]]
    column = tf.constant(values)
    return lambda row: column[row]


def read_lines(path: str | Path, encoding: str) -> list[str]:
    """Return the lines of a text file, which may be gzipped, without line ends and byte order mark.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file has another encoding.
    """
    with (gzip.open if Path(path).suffix == ".gz" else open)(path, "rb") as file:
        data = file.read()
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line} is not {encoding}: {error.reason}. Pass its `encoding`.") from error
    # splitlines would also split at separators within words, such as U+2028.
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in lines]


def split_at_blanks(line: str) -> list[str]:
    """Return the parts of a line between blanks and tabs; other white space belongs to a part."""
    return [part for part in re.split("[ \t]+", line) if part]
