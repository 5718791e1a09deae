"""Rows with named columns, from CSV files and from JSON lines."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tf_mtl._names import check_names, nearest
from tf_mtl.data._records import read_lines, records


def from_csv(
    path: str | Path,
    columns: Mapping[str, str],
    names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    strings: Sequence[str] = (),
    **dialect: Any,
) -> tf.data.Dataset:
    r"""Read columns of a CSV file.

    A column whose cells are all numbers or empty gives numbers, NaN where empty; any other, and those of the fields in
    `strings`, give strings, "" where empty. Lines that are empty are skipped.

    Args:
        path: The file, which may be gzipped (".gz").
        columns: `{field: column name}`.
        names: The names of all columns, for a file whose first line is a row; by default that line holds them.
        encoding: The encoding of the file.
        strings: The fields that are strings whatever they look like: texts, labels that are named by numbers.
        **dialect: How the file is written, for `csv.reader`: `delimiter="\t"` for tabs, `quoting=csv.QUOTE_NONE` if
            quotes belong to the text.

    Returns:
        A data set of rows {field: scalar}, strings or float32, in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for no columns, an unknown column, a row with more or fewer cells than columns, quotes that do not
            close, and a file without rows; the message names the file and the line.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "reviews.csv"
    >>> _ = path.write_text('id,sentence,stars\n1,"Good, really",5\n2,Dull,\n')
    >>> for row in mtl.data.from_csv(path, {"text": "sentence", "rating": "stars"}):
    ...     print(row["text"].numpy(), row["rating"].numpy())
    b'Good, really' 5.0
    b'Dull' nan
    """
    reader = csv.reader((f"{line}\n" for line in read_lines(path, encoding)), **{"strict": True, **dialect})
    rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
                names = rows.pop() if names is None else names
                if len(row) != len(names):
                    raise csv.Error(f"{len(row)} cells for {len(names)} columns, {_odd(row, names)}")
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {reader.line_num}: {error}. Mend the line, or give `names`, `delimiter` or `quoting`."
        ) from error
    names = list(names or [])
    _check_columns(path, columns, names)
    _check_rows(path, rows)
    check_names("strings", strings, columns, required=False)
    cells = {field: [row[names.index(column)] for row in rows] for field, column in columns.items()}
    return records({field: found if field in strings else _numbers(found) for field, found in cells.items()})


def from_jsonl(path: str | Path, columns: Mapping[str, str], strings: Sequence[str] = ()) -> tf.data.Dataset:
    r"""Read values of the JSON objects that stand one a line in a file.

    A column holds strings, numbers (true is 1, false 0) or lists of strings. A value that is null or not there is
    missing: "", NaN or an empty list. Lines that are empty are skipped.

    Args:
        path: The file, in UTF-8, which may be gzipped (".gz").
        columns: `{field: key}` with keys of the objects.
        strings: The fields whose numbers become strings, as they are written in JSON: labels named by numbers.

    Returns:
        A data set of rows {field: string scalar, float32 scalar or string tensor [None]}, in the order of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for no columns, a key that no object has, a line that is no JSON object, a value of another kind
            than the column's first, and a file without rows; the message names file, line and column.

    Example:

    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "news.jsonl"
    >>> _ = path.write_text('{"words": ["Ada", "spoke"], "score": 1}\n{"words": ["Yes"], "score": null}\n')
    >>> for row in mtl.data.from_jsonl(path, {"words": "words", "intensity": "score"}):
    ...     print(row["words"].numpy().tolist(), row["intensity"].numpy())
    [b'Ada', b'spoke'] 1.0
    [b'Yes'] nan
    """
    rows = {}
    for number, line in enumerate(read_lines(path, "utf-8"), 1):
        if line.strip():
            try:
                rows[number] = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number} is not JSON: {error}. Mend the line.") from error
            if not isinstance(rows[number], dict):
                raise ValueError(f"{path}, line {number} must be a JSON object, received {line[:40]}. Mend the line.")
    _check_rows(path, rows)
    _check_columns(path, columns, list(dict.fromkeys(key for row in rows.values() for key in row)))
    check_names("strings", strings, columns, required=False)
    for key in (columns[field] for field in strings):
        for row in rows.values():
            row[key] = json.dumps(row[key]) if isinstance(row.get(key), (int, float)) else row.get(key)
    return records({field: _values(path, key, rows) for field, key in columns.items()})


def _odd(row, names):
    return f"the first without a cell is '{names[len(row)]}'" if len(row) < len(names) else f"the last is '{names[-1]}'"


def _check_rows(path, rows):
    if not rows:
        raise ValueError(f"{path} has no rows. Check the path, and `names` if it has no line of column names.")


def _check_columns(path, columns, names):
    if not columns:
        raise ValueError(f"`columns` must name at least one field, received none. {path} has the columns {names}.")
    for field, column in columns.items():
        if names.count(column) != 1:
            has = f"has the columns {names}" if column not in names else f"has {names.count(column)} of them in {names}"
            raise ValueError(f"`columns['{field}']` is '{column}', but {path} {has}.{nearest(column, names)}")


def _numbers(cells):
    """Return numbers where all cells that are not empty are numbers, otherwise strings."""
    filled = [cell for cell in cells if cell.strip()]
    try:
        numbers = [float(cell.replace("_", "x")) for cell in filled]  # Python takes 1_000 for a number
    except ValueError:
        return cells
    if not numbers:
        return cells
    column = np.full(len(cells), np.nan, np.float32)
    column[[bool(cell.strip()) for cell in cells]] = numbers
    return column


_KINDS = {"strings": "", "numbers": np.nan, "lists of strings": []}


def _values(path, key, rows):
    """Return the values of one key, which must be of one kind."""
    kinds = {number: _kind(path, key, number, row[key]) for number, row in rows.items() if row.get(key) is not None}
    if not kinds:
        raise ValueError(f"{path}, column '{key}' has no value in any line. Take it out of `columns`.")
    first, kind = next(iter(kinds.items()))
    for number, found in kinds.items():
        if found != kind:
            raise ValueError(
                f"{path}, line {number}, column '{key}' must hold {kind} as line {first} does, received "
                f"{rows[number][key]!r}. Make them alike."
            )
    values = [row[key] if number in kinds else _KINDS[kind] for number, row in rows.items()]
    return np.array(values, np.float32) if kind == "numbers" else values


def _kind(path, key, number, value):
    if isinstance(value, str):
        return "strings"
    if isinstance(value, (int, float)):
        return "numbers"
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "lists of strings"
    raise ValueError(
        f"{path}, line {number}, column '{key}' must hold a string, a number or a list of strings, received {value!r}."
    )
