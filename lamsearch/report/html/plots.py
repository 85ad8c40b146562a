"""Plots as plain geometry, in the user units of an SVG: what a template has only to write down."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lamsearch.report.html.numbers import tick_labels, ticks


@dataclass(frozen=True)
class Scale:
    """Maps values linearly to positions.

    Attributes:
        low: Value at `start`.
        high: Value at `stop`.
        start: Position of the one end.
        stop: Position of the other.
        is_log: Whether it is linear in the logarithm.
    """

    low: float
    high: float
    start: float
    stop: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return a value's position, rounded to what a screen can show."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.stop - self.start), 2)


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Shape:
    """A line or an area: its SVG path, and the class that styles it."""

    path: str
    kind: str


@dataclass(frozen=True)
class Rule:
    """A straight line across the panel at a position: vertical, or else horizontal."""

    at: float
    kind: str
    vertical: bool = True


@dataclass(frozen=True)
class Span:
    """A vertical band of the panel."""

    start: float
    width: float
    kind: str


@dataclass(frozen=True)
class Point:
    """A measured value.

    Attributes:
        x: Position.
        y: Position.
        low: Position of the lower end of its error bar, None without one.
        high: Of the upper end.
        kind: Class that styles it.
        text: What it is, shown when it is pointed at.
    """

    x: float
    y: float
    low: float | None
    high: float | None
    kind: str
    text: str


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its inner rectangle and what is drawn in it."""

    x: Scale
    y: Scale
    label: str
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...] = ()
    top_ticks: tuple[Tick, ...] = ()
    spans: tuple[Span, ...] = ()
    shapes: tuple[Shape, ...] = ()
    rules: tuple[Rule, ...] = ()
    points: tuple[Point, ...] = ()
    show_x: bool = True
    """Whether the labels of `x_ticks` are written, and not only their grid lines."""


@dataclass(frozen=True)
class Plot:
    """One drawing.

    Attributes:
        width: Of its view box.
        height: Of its view box.
        panels: From top to bottom, or from left to right.
        title: For screen readers.
        description: What there is to see, in a sentence, for screen readers.
        x_label: Name of the horizontal axis.
        top_label: Name of the axis above, empty without one.
        size: "wide", "narrow" or "every": which screens it is for.
    """

    width: float
    height: float
    panels: tuple[Panel, ...]
    title: str
    description: str
    x_label: str = ""
    top_label: str = ""
    size: str = "wide"


@dataclass(frozen=True)
class Layout:
    """Lengths of a plot for one kind of screen, in user units.

    Attributes:
        size: "wide", "narrow" or "every", as in `Plot`.
        width: Of the whole plot.
        left: Margin for the labels of the vertical axis.
        right: Margin.
        main: Height of the main panel.
        other: Height of the others.
        x_count: How many ticks there is room for.
    """

    size: str
    width: float
    left: float
    right: float
    main: float
    other: float
    x_count: int
    gap: float = field(default=30.0)


WIDE = Layout("wide", 1040, 58, 14, 300, 84, 10)
NARROW = Layout("narrow", 360, 46, 10, 220, 72, 5)
SMALL = Layout("every", 640, 58, 14, 210, 64, 8)
"""For a notebook's cell."""

LAYOUTS = (WIDE, NARROW)


def axis_ticks(scale: Scale, count: int) -> tuple[Tick, ...]:
    """Return round ticks of a linear scale, about `count` of them."""
    values = ticks(scale.low, scale.high, count)
    labels = tick_labels(values)
    return tuple(Tick(scale(value), label) for value, label in zip(values, labels, strict=True))


def log_ticks(low: float, high: float) -> list[float]:
    """Return the numbers 1, 2, 5 · 10ᵏ in [low, high], thinned to the powers of ten where many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    units = (1, 2, 5) if last - first < 4 else (1,)
    values = [unit * 10.0**power for power in range(first, last + 1) for unit in units]
    return [value for value in values if low <= value <= high] or [low]


def padded(values: Iterable[float], share: float = 0.06) -> tuple[float, float]:
    """Return the range of the finite values, a little widened; (0, 1) if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    margin = share * (high - low) or max(abs(high), 1e-6) * share
    return low - margin, high + margin


def line(xs: Sequence[float], ys: Sequence[float]) -> str:
    """Return the path through positions."""
    points = [f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True)]
    return "M" + "L".join(points)


def area(xs: Sequence[float], lower: Sequence[float], upper: Sequence[float]) -> str:
    """Return the path around the area between two lines."""
    back = line(list(reversed(xs)), list(reversed(lower))).removeprefix("M")
    return f"{line(xs, upper)}L{back}Z"
