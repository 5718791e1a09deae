"""Line charts as SVG, in the colours of the page."""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from tf_mtl.report._page.elements import Markup, element, number

_WIDTH, _HEIGHT = 260, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 8, 8, 34  # the margins around the lines
_MOST_DOTS = 40
_MOST_STEPS = 5


def lines(title: str, series: Mapping[str, Sequence[float]], bounds: tuple[float, float] | None = None) -> Markup:
    """Return a chart of one or two quantities over the epochs, the second as a dashed line.

    Args:
        title: The caption.
        series: `{name: values}`, with a value per epoch.
        bounds: The lowest and the highest value of the axis; by default those of the series.
    """
    epochs = max(map(len, series.values()))
    low, high = bounds or value_range(itertools.chain(*series.values()))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(epoch: float) -> float:
        return round(_LEFT + width * ((epoch - 1) / (epochs - 1) if epochs > 1 else 0.5), 1)

    def y(value: float) -> float:
        return round(_TOP + height * (high - value) / (high - low), 1)

    shapes = []
    for tick in _ticks(low, high):
        shapes.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(tick), y2=y(tick), class_="rule"))
        shapes.append(_text(_LEFT - 5, y(tick) + 4, number(tick), "end"))
    for tick in sorted({max(1, round(tick)) for tick in _ticks(1, epochs)} if epochs > 1 else {1}):
        shapes.append(_text(x(tick), _HEIGHT - 19, str(tick), "middle"))
    shapes.append(_text(_LEFT + width / 2, _HEIGHT - 5, "epoch", "middle"))
    for kind, values in zip(("first", "second"), series.values(), strict=False):
        points = [(x(epoch), y(value) if math.isfinite(value) else None) for epoch, value in enumerate(values, 1)]
        shapes += _line(points, kind)
    label = f"{title} by epoch: {'; '.join(_summary(name, values) for name, values in series.items())}."
    chart = element("svg", *shapes, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=label)
    return element("figure", element("figcaption", title), chart)


def value_range(values: Iterable[float]) -> tuple[float, float]:
    """Return bounds for an axis that shows all finite values."""
    finite = [float(value) for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    margin = 0.05 * ((high - low) or abs(low) or 1.0)
    return low - margin, high + margin


def _line(points: Sequence[tuple[float, float | None]], kind: str) -> list[Markup]:
    """A line with gaps where there is no value, and dots unless there are many."""
    stretches = (list(part) for is_gap, part in itertools.groupby(points, lambda point: point[1] is None) if not is_gap)
    shapes = [
        element("polyline", points=" ".join(f"{x},{y}" for x, y in stretch), class_=kind)
        for stretch in stretches
        if len(stretch) > 1
    ]
    if len(points) <= _MOST_DOTS:
        shapes += [element("circle", cx=x, cy=y, r=2.5, class_=f"dot-{kind}") for x, y in points if y is not None]
    return shapes


def _ticks(low: float, high: float) -> list[float]:
    """Two to six multiples of 1, 2 or 5 times a power of 10."""
    power = 10.0 ** math.floor(math.log10((high - low) / _MOST_STEPS))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= _MOST_STEPS)
    return [step * index for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return element("text", text, x=round(x, 1), y=round(y, 1), text_anchor=anchor)


def _summary(name: str, values: Sequence[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return f"{name} without values"
    first, last = number(values[0]), number(values[-1])
    return f"{name} from {first} to {last}, lowest {number(min(finite))}, highest {number(max(finite))}"
