"""Summary → its curve as geometry: intervals, evaluations, β/λ above, the guards below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lamsearch.report.html.numbers import decimals, number
from lamsearch.report.html.plots import (
    Layout,
    Panel,
    Plot,
    Point,
    Rule,
    Scale,
    Shape,
    Span,
    Tick,
    area,
    axis_ticks,
    line,
    padded,
)
from lamsearch.report.rows import beta_text, effective_beta

if TYPE_CHECKING:
    from lamsearch.report.people import People
    from lamsearch.report.summary import Summary
    from lamsearch.surrogate.model import Surrogate

_POINTS = 161
_TOP, _TOP_WITH_BETA, _BOTTOM = 30.0, 56.0, 42.0
_NORMAL_QUANTILE = 1.96


@dataclass(frozen=True)
class _Curve:
    """A posterior on a grid, its evaluations, and where it is largest.

    Attributes:
        name: Of the reward.
        label: Of the vertical axis.
        kind: Class that styles it.
        best: λ of the answer to mark.
        interval: Its interval.
    """

    name: str
    label: str
    kind: str
    best: float
    interval: tuple[float, float]
    lams: list[float]
    mean: list[float]
    half: list[float]
    observed: list[tuple[float, float, float | None]]

    @classmethod
    def of_reward(cls, summary: Summary, surrogate: Surrogate, name: str, kind: str) -> _Curve:
        lams = torch.linspace(*surrogate.bounds, _POINTS, dtype=torch.float64)
        half = _NORMAL_QUANTILE * surrogate.variance(lams).clamp_min(0).sqrt()
        seen = surrogate.observations
        rows = zip(seen.lams.tolist(), seen.values.tolist(), seen.variances.tolist(), strict=True)
        observed = [
            (lam, value, _NORMAL_QUANTILE * variance**0.5 if variance >= 0 else None)
            for lam, value, variance in rows
        ]
        return cls(
            name=name,
            label=f"mean {name}",
            kind=kind,
            best=summary.lam,
            interval=summary.lam_interval,
            lams=lams.tolist(),
            mean=surrogate.mean(lams).tolist(),
            half=half.tolist(),
            observed=observed,
        )

    @classmethod
    def of_people(cls, people: People) -> _Curve:
        """The log-odds that people prefer λ's image to that of the lowest λ, ties apart."""
        low, high = people.surrogate.bounds
        lams = torch.linspace(low, high, _POINTS, dtype=torch.float64)
        mean, variance = people.surrogate.gain(lams, low)
        return cls(
            name="people",
            label=f"people, log-odds against λ = {low:g}",
            kind="guard",
            best=people.lam,
            interval=people.lam_interval,
            lams=lams.tolist(),
            mean=mean.tolist(),
            half=(_NORMAL_QUANTILE * variance.sqrt()).tolist(),
            observed=[],
        )

    @property
    def heights(self) -> list[float]:
        """All that must be visible."""
        ends = [m + s * h for m, h in zip(self.mean, self.half, strict=True) for s in (-1, 1)]
        bars = [value + s * (error or 0.0) for _, value, error in self.observed for s in (-1, 1)]
        return [*ends, *bars]


def curve_plot(summary: Summary, layout: Layout) -> Plot:
    """Return the curve of the objective, and below it those of tracked rewards and of people."""
    curves = [_Curve.of_reward(summary, summary.surrogate, summary.reward or "score", "curve")]
    curves += [
        _Curve.of_reward(summary, other.surrogate, other.name, "guard") for other in summary.others
    ]
    if summary.people is not None:
        curves.append(_Curve.of_people(summary.people))
    x = Scale(*summary.surrogate.bounds, layout.left, layout.width - layout.right)
    top = _TOP if summary.beta is None else _TOP_WITH_BETA
    panels = []
    for index, curve in enumerate(curves):
        height = layout.other if index else layout.main
        is_last = index == len(curves) - 1
        panels.append(_panel(summary, curve, layout, x=x, top=top, bottom=top + height))
        panels[-1] = _with_x(panels[-1], summary, layout, show=is_last, beta=not index)
        top += height + (0 if is_last else layout.gap)
    return Plot(
        width=layout.width,
        height=top + _BOTTOM,
        panels=tuple(panels),
        title=f"Mean {curves[0].name} over λ",
        description=_description(summary, curves[0]),
        x_label="λ   (0 reference, 1 aligned)",
        top_label="" if summary.beta is None else "KL strength β/λ",
        size=layout.size,
    )


def _panel(
    summary: Summary, curve: _Curve, layout: Layout, *, x: Scale, top: float, bottom: float
) -> Panel:
    """Return one reward's panel, without the ticks of λ."""
    y = Scale(*padded(curve.heights), bottom, top)
    xs = [x(lam) for lam in curve.lams]
    lower, upper = (
        [y(m + sign * h) for m, h in zip(curve.mean, curve.half, strict=True)] for sign in (-1, 1)
    )
    means = Shape(line(xs, [y(m) for m in curve.mean]), curve.kind)
    low, high = curve.interval
    is_main = curve.kind == "curve"
    return Panel(
        x=x,
        y=y,
        label=curve.label,
        y_ticks=axis_ticks(y, 5 if is_main else 2),
        spans=(Span(x(low), round(x(high) - x(low), 2), "answer"),),
        shapes=(Shape(area(xs, lower, upper), f"{curve.kind}-band"), means),
        rules=tuple(_rules(summary, curve, x)),
        points=tuple(_point(x, y, *row, curve=curve) for row in curve.observed),
    )


def _rules(summary: Summary, curve: _Curve, x: Scale) -> Iterator[Rule]:
    yield Rule(x(curve.best), "answer")
    if summary.onset is not None and summary.onset.lam <= x.high:
        yield Rule(x(summary.onset.lam), "onset")


def _point(
    x: Scale, y: Scale, lam: float, value: float, error: float | None, *, curve: _Curve
) -> Point:
    places = decimals(max(curve.mean) - min(curve.mean))
    text = f"λ = {lam:.4g}: mean {curve.name} {number(value, places)}"
    if error is None:
        return Point(x(lam), y(value), None, None, "evaluation", text)
    text += f" ± {number(error, places)}"
    return Point(x(lam), y(value), y(value - error), y(value + error), "evaluation", text)


def _with_x(panel: Panel, summary: Summary, layout: Layout, *, show: bool, beta: bool) -> Panel:
    """Return the panel with ticks of λ below, and of β/λ above if requested and known."""
    below = axis_ticks(panel.x, layout.x_count)
    above: tuple[Tick, ...] = ()
    if beta and summary.beta is not None:
        low, high, steps = panel.x.low, panel.x.high, layout.x_count // 2
        lams = [low + (high - low) * step / steps for step in range(steps + 1)]
        above = tuple(
            Tick(panel.x(lam), beta_text(effective_beta(summary.beta, lam))) for lam in lams
        )
    return Panel(**{**vars(panel), "x_ticks": below, "top_ticks": above, "show_x": show})


def _description(summary: Summary, curve: _Curve) -> str:
    places = decimals(max(curve.mean) - min(curve.mean))
    ends = [number(curve.mean[end], places) for end in (0, -1)]
    low, high = summary.surrogate.bounds
    return (
        f"The posterior mean is {ends[0]} at λ = {low:g}, {number(summary.value, places)} at "
        f"λ* = {summary.lam:.3g}, and {ends[1]} at λ = {high:g}. The table of evaluations has all "
        "values."
    )
