"""Rows with named columns, from CSV files and from JSON lines."""

import contextlib
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names, nearest
from tf_mtl.data._records import read_lines, record_dataset


def from_csv(
    path: str | Path,
    columns: Mapping[str, str],
    names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    strings: Sequence[str] = (),
    **dialect: Any,
) -> tf.data.Dataset:
    r"""Read columns of a CSV file.

    A column whose cells are all numbers or empty becomes numbers, NaN where empty. Any other column, and those of the
    fields in `strings`, become strings, "" where empty: words such as NA are kept. Empty lines are skipped.

    Args:
        path: The file, which may be gzipped (".gz").
        columns: `{field: column name}`.
        names: The names of all columns, for a file whose first line is a row; by default that line has the names.
        encoding: The encoding of the file.
        strings: Fields to read as strings even if all cells are numbers: texts, and labels named by numbers.
        **dialect: The format of the file, for `csv.reader`: `delimiter="\t"` for tabs, `quoting=csv.QUOTE_NONE` if
            quotes belong to the text.

    Returns:
        A data set of rows {field: scalar}, strings or float32, in the order of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: for no columns, an unknown column, a row with more or fewer cells than columns, quotes that are not
            closed, and a file without rows; the message names the file and the line.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text('id,sentence,stars\n1,"Good, really",5\n2,Dull,\n')
    >>> for row in mtl.data.from_csv(path, {"text": "sentence", "rating": "stars"}):
    ...     print(row["text"].numpy(), row["rating"].numpy())
    b'Good, really' 5.0
    b'Dull' nan
    """
    lines = read_lines(path, encoding)
    reader = csv.reader((f"{line}\n" for line in lines), **{"strict": True, **dialect})
    rows = []
    try:
        with _cells_of_length(sum(map(len, lines)) + len(lines)):
            for row in filter(None, reader):
                if names is None:
                    names = row
                    continue
                if len(row) != len(names):
                    raise csv.Error(f"{len(row)} cells for {len(names)} columns, {_mismatch(row, names)}")
                rows.append(row)
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: {error}. Fix the line, or pass `names`, `delimiter` or `quoting`."
        ) from error
    names = list(names or [])
    _check_columns(path, columns, names)
    _check_rows(path, rows)
    check_names("strings", strings, columns, required=False)
    cells = {field: [row[names.index(column)] for row in rows] for field, column in columns.items()}
    return record_dataset(
        {field: values if field in strings else _numbers_if_all(values) for field, values in cells.items()}
    )


def from_jsonl(path: str | Path, columns: Mapping[str, str], strings: Sequence[str] = ()) -> tf.data.Dataset:
    r"""Read values from a file with one JSON object per line.

    A column holds strings, numbers (true is 1, false 0) or lists of strings. A missing value, which is null or has no
    key, becomes "", NaN or an empty list. Empty lines are skipped.

    Args:
        path: The file, in UTF-8, which may be gzipped (".gz").
        columns: `{field: key}` with keys of the objects.
        strings: Fields whose numbers become strings, written as in JSON: labels named by numbers.

    Returns:
        A data set of rows {field: string scalar, float32 scalar or string tensor [None]}, in the order of the file.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: for no columns, a key that no object has, a line that is not a JSON object, a value of another kind
            than the column's first, and a file without rows; the message names the file, the line and the column.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "news.jsonl"
    >>> _ = path.write_text('{"words": ["Ada", "spoke"], "score": 1}\n{"words": ["Yes"], "score": null}\n')
    >>> for row in mtl.data.from_jsonl(path, {"words": "words", "intensity": "score"}):
    ...     print(row["words"].numpy().tolist(), row["intensity"].numpy())
    [b'Ada', b'spoke'] 1.0
    [b'Yes'] nan
    """
    rows: dict[int, dict[str, Any]] = {}  # by line number
    for number, line in enumerate(read_lines(path, "utf-8"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}. Fix the line.") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number} must be a JSON object, received {line[:40]}. Fix the line.")
            rows[number] = row
    _check_rows(path, rows)
    _check_columns(path, columns, list(dict.fromkeys(key for row in rows.values() for key in row)))
    check_names("strings", strings, columns, required=False)
    for key in (columns[field] for field in strings):
        for row in rows.values():
            row[key] = json.dumps(row[key]) if isinstance(row.get(key), (int, float)) else row.get(key)
    return record_dataset({field: _values(path, key, rows) for field, key in columns.items()})


@contextlib.contextmanager
def _cells_of_length(length: int) -> Iterator[None]:
    """Let `csv` read cells of up to `length` characters; by default it reads 131,072."""
    limit = csv.field_size_limit()
    csv.field_size_limit(max(length, limit))
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _mismatch(row: Sequence[str], names: Sequence[str]) -> str:
    """Return where a row's cells and the columns begin to differ."""
    if len(row) < len(names):
        return f"the first column without a cell is '{names[len(row)]}'"
    return f"the last column is '{names[-1]}'"


def _check_rows(path, rows):
    if not rows:
        raise ValueError(f"{path} has no rows. Check the path, and `names` if it has no line of column names.")


def _check_columns(path, columns, names):
    if not columns:
        raise ValueError(f"`columns` must name at least one field, received none. {path} has the columns {names}.")
    for field, column in columns.items():
        if names.count(column) != 1:
            which = "the columns" if column not in names else f"{names.count(column)} columns of that name in"
            raise ValueError(
                f"`columns['{field}']` is '{column}', but {path} has {which} {names}.{nearest(column, names)}"
            )


def _numbers_if_all(cells: list[str]) -> list[str] | np.ndarray:
    """Return the cells as numbers, NaN where empty, if all others are numbers; otherwise the strings unchanged."""
    filled = [cell for cell in cells if cell.strip()]
    try:
        numbers = [float(cell.replace("_", "x")) for cell in filled]  # Python reads 1_000 as a number
    except ValueError:
        return cells
    if not any(character.isdigit() for cell in filled for character in cell):  # nan and inf are words as well
        return cells
    column = np.full(len(cells), np.nan, np.float32)
    column[[bool(cell.strip()) for cell in cells]] = numbers
    return column


_MISSING_VALUES = {"strings": "", "numbers": np.nan, "lists of strings": []}


def _values(path: str | Path, key: str, rows: Mapping[int, Mapping[str, Any]]) -> list[Any] | np.ndarray:
    """Return the values of one key, which must all be of one kind."""
    kinds = {number: _kind(path, key, number, row[key]) for number, row in rows.items() if row.get(key) is not None}
    if not kinds:
        raise ValueError(f"{path}, column '{key}' has no value in any line. Remove it from `columns`.")
    first, kind = next(iter(kinds.items()))
    for number, other_kind in kinds.items():
        if other_kind != kind:
            raise ValueError(
                f"{path}, line {number}, column '{key}' must hold {kind} as line {first} does, received "
                f"{rows[number][key]!r}. Write all values of a column alike."
            )
    values = [row[key] if number in kinds else _MISSING_VALUES[kind] for number, row in rows.items()]
    return np.array(values, np.float32) if kind == "numbers" else values


def _kind(path: str | Path, key: str, number: int, value: Any) -> str:
    if isinstance(value, str):
        return "strings"
    if isinstance(value, (int, float)):
        return "numbers"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "lists of strings"
    raise ValueError(
        f"{path}, line {number}, column '{key}' must hold a string, a number or a list of strings, received {value!r}."
    )
