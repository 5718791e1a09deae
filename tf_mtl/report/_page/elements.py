"""HTML elements whose text is escaped, and tables."""

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np


class Markup(str):
    """HTML that is not escaped again."""

    __slots__ = ()


class Number(NamedTuple):
    """A number in a table.

    Attributes:
        text: What the cell shows.
        shade: From -1, the colour of negative values, to 1, that of positive ones; NaN for no colour.
    """

    text: str
    shade: float = math.nan


_LARGE = 1e12
_LONG = 40  # characters, from which a text is wrapped
_NO_NUMBER = "\N{EN DASH}"

Cell = str | float | Number | None


def element(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """Return an element.

    Args:
        name: The tag.
        *children: Its contents; text is escaped, `Markup` is not, and None is left out.
        **attributes: Its attributes; underscores become hyphens, those at the end are dropped, as is None.
    """
    names = {key: key.rstrip("_").replace("_", "-") for key in attributes}
    start = "".join(f' {names[key]}="{escape(str(value))}"' for key, value in attributes.items() if value is not None)
    return Markup(f"<{name}{start}>{joined(*children)}</{name}>")


def joined(*children: str | None) -> Markup:
    """Return the children one after the other, text escaped and None left out."""
    parts = (child if isinstance(child, Markup) else escape(child) for child in children if child is not None)
    return Markup("".join(parts))


def number(value: float) -> str:
    """Return a number as text: integers in full, others with four significant digits, and a dash for NaN."""
    if math.isnan(value):
        return _NO_NUMBER
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < _LARGE else f"{value:.4g}"


def percent(value: float, signed: bool = False) -> Number:
    """Return a fraction in percent."""
    return Number(_NO_NUMBER if math.isnan(value) else f"{value:+.2%}" if signed else f"{value:.1%}")


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Markup:
    """Return a table, whose first column names the rows. It scrolls where the page is too narrow."""
    classes = [_class(column) for column in zip(*rows, strict=True)] or [None for _ in header]
    head = (element("th", name, scope="col", class_=kind) for name, kind in zip(header, classes, strict=True))
    body = (element("tr", element("th", str(row[0]), scope="row"), *map(_cell, row[1:])) for row in rows)
    parts = element("thead", element("tr", *head)), element("tbody", *body)
    content = element("table", element("caption", element("span", caption)), *parts)
    return element("div", content, class_="wide", role="region", tabindex=0, aria_label=caption)


def matrix(
    caption: str,
    corner: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    texts: Sequence[Sequence[str]] | None = None,
    largest: float | None = None,
) -> Markup:
    """Return a table whose cells are coloured by their values.

    Args:
        caption: The caption.
        corner: What the rows are.
        rows: The names of the rows.
        columns: The names of the columns.
        values: [rows, columns].
        texts: What the cells show, if not the values.
        largest: The value with the full colour; by default the largest absolute value.
    """
    values = np.asarray(values, float)
    scale = largest or float(np.abs(values[np.isfinite(values)]).max(initial=0)) or 1.0
    texts = texts or [[number(value) for value in row] for row in values.tolist()]
    cells: list[list[Cell]] = [
        [name, *(Number(text, value / scale) for text, value in zip(row_texts, row, strict=True))]
        for name, row_texts, row in zip(rows, texts, values.tolist(), strict=True)
    ]
    return table(caption, [corner, *columns], cells)


def details(summary: str, *children: str) -> Markup:
    """Return contents that open on a click."""
    return element("details", element("summary", summary), *children)


def _class(column: Sequence[Cell]) -> str | None:
    """The class of a column's header."""
    return None if any(isinstance(value, str) for value in column) else "number"


def _cell(value: Cell) -> Markup:
    if isinstance(value, str) or value is None:
        is_long = not isinstance(value, Markup) and len(value or "") > _LONG
        return element("td", value, class_="long" if is_long else None)
    shown = value if isinstance(value, Number) else Number(number(value))
    if math.isnan(shown.shade):
        return element("td", shown.text, class_="number")
    sign = "below" if shown.shade < 0 else "above"
    return element("td", shown.text, class_=f"number {sign}", style=f"--part:{min(abs(shown.shade), 1):.0%}")
