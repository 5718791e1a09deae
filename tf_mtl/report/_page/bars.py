"""Small pictures for the cells of a table, beside the numbers that they show."""

import math

from tf_mtl.report._page.elements import Markup, element

_WIDTH, _HEIGHT = 160, 16
_MARGIN = 6


def bar(fraction: float) -> Markup:
    """Return a bar from 0 to a fraction of 1."""
    return _picture(
        element("rect", width=_WIDTH, height=_HEIGHT, class_="rest"),
        element("rect", width=round(_WIDTH * fraction, 1), height=_HEIGHT, class_="bar"),
    )


def interval(value: float, low: float, high: float, largest: float) -> Markup:
    """Return a value and its interval on an axis from -`largest` to `largest`; NaN is not shown."""

    def x(position: float) -> float:
        return round(_WIDTH / 2 + (_WIDTH / 2 - _MARGIN) * min(max(position / largest, -1), 1), 1)

    middle = _HEIGHT / 2
    shapes = [element("line", x1=x(0), x2=x(0), y1=0, y2=_HEIGHT, class_="zero")]
    if not math.isnan(low):
        shapes.append(element("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_="first"))
    if not math.isnan(value):
        shapes.append(element("circle", cx=x(value), cy=middle, r=4, class_="dot-first"))
    return _picture(*shapes)


def _picture(*shapes: Markup) -> Markup:
    return element("svg", *shapes, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="strip", aria_hidden="true")
