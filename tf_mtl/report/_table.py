"""Tables as text."""

from collections.abc import Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], digits: int = 3) -> str:
    """Return a Markdown table with aligned columns.

    Args:
        header: The names of the columns.
        rows: The cells of each row: text, numbers, or None for an empty cell. The lines of a text are joined, and its
            pipes escaped.
        digits: The number of digits of floats after the decimal point.

    Example:

    >>> print(mtl.report.table(["task", "auc"], [["click", 0.75], ["buy", None]]))
    | task  |   auc |
    |-------|------:|
    | click | 0.750 |
    | buy   |       |
    """
    header = [_cell(name, digits) for name in header]
    cells = [[_cell(value, digits) for value in row] for row in rows]
    numeric = [all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(header))]
    widths = [max(len(line[i]) for line in [header, *cells]) for i in range(len(header))]
    rule = ["-" * (width + 1) + (":" if number else "-") for width, number in zip(widths, numeric, strict=True)]
    lines = [_line(header, widths, numeric), "|" + "|".join(rule) + "|"]
    return "\n".join([*lines, *(_line(row, widths, numeric) for row in cells)])


def _cell(value, digits):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return " ".join(str(value).splitlines()).replace("|", "\\|")


def _line(cells, widths, numeric):
    aligned = [
        cell.rjust(width) if number else cell.ljust(width)
        for cell, width, number in zip(cells, widths, numeric, strict=True)
    ]
    return "| " + " | ".join(aligned) + " |"
