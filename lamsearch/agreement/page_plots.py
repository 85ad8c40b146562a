"""An agreement → the geometry of its page's plots: a family's lines, and Bland–Altman."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lamsearch.agreement.results import Emulation, MeanScore, RewardAgreement
from lamsearch.report.html.numbers import decimals, number
from lamsearch.report.html.plots import (
    Panel,
    Plot,
    Point,
    Rule,
    Scale,
    Shape,
    Tick,
    axis_ticks,
    line,
    log_ticks,
    padded,
)
from lamsearch.report.rows import beta_text

_NORMAL_QUANTILE = 1.96
_SMALL = (340.0, 230.0)
_LARGE = (640.0, 340.0)
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 28.0, 42.0


def line_plots(reward: RewardAgreement) -> Iterator[Plot]:
    """Yield a plot per anchor: its emulated means over β, and those from scratch (Fig. 4, 8, 9)."""
    members = sorted((m for m in reward.members if m.anchor is not None), key=lambda m: m.strength)
    strengths = [m.strength for m in members]
    ends = [m.value + s * _error(m.stderr) for m in members for s in (-1, 1)]
    y_range = padded([*ends, *(e.approximated for e in reward.emulations)])
    for anchor in members:
        width, height = _SMALL
        x = Scale(min(strengths), max(strengths), _LEFT + 8, width - _RIGHT - 8, is_log=True)
        y = Scale(*y_range, height - _BOTTOM, _TOP)
        yield Plot(
            width=width,
            height=height,
            panels=(_family(reward, members, anchor, x=x, y=y),),
            title=f"Anchor {anchor.anchor}, β = {anchor.strength:g}: mean {reward.reward} over β",
            description="Solid: aligned from scratch. Dashed: emulated by this anchor.",
            x_label="KL strength β",
            size="every",
        )


def bland_altman_plot(reward: RewardAgreement) -> Plot:
    """Return differences over means, with the limits of agreement of λ < 1 (Fig. 5b)."""
    width, height = _LARGE
    means = [(e.original + e.approximated) / 2 for e in reward.emulations]
    ends = [
        e.difference + s * _error(e.difference_stderr) for e in reward.emulations for s in (-1, 1)
    ]
    limits = _limits(reward)
    x = Scale(*padded(means), _LEFT + 10, width - _RIGHT)
    y = Scale(*padded([*ends, 0.0, *(value for value, _ in limits)]), height - _BOTTOM, _TOP)
    points = tuple(
        _point(
            x(mean),
            y,
            (each.difference, each.difference_stderr),
            kind=_side(each),
            text=_about(each, reward),
        )
        for mean, each in zip(means, reward.emulations, strict=True)
    )
    rules = [Rule(y(0.0), "zero", vertical=False)]
    rules += [Rule(y(value), kind, vertical=False) for value, kind in limits]
    panel = Panel(
        x=x,
        y=y,
        label=f"{reward.reward}: emulated − from scratch",
        y_ticks=axis_ticks(y, 5),
        x_ticks=axis_ticks(x, 6),
        rules=tuple(rules),
        points=points,
    )
    return Plot(
        width=width,
        height=height,
        panels=(panel,),
        title=f"Bland–Altman plot of {reward.reward}",
        description="The difference of every pair over the mean of both. All pairs are in the "
        "matrix of differences.",
        x_label="mean of both",
        size="every",
    )


def _family(
    reward: RewardAgreement,
    members: Sequence[MeanScore],
    anchor: MeanScore,
    *,
    x: Scale,
    y: Scale,
) -> Panel:
    found = [e for e in reward.emulations if e.anchor == anchor.anchor]
    xs, ys = [x(m.strength) for m in members], [y(m.value) for m in members]
    shapes = [Shape(line(xs, ys), "scratch")]
    for kind in ("inside", "outside"):
        side = [(e.beta_target, e.approximated) for e in found if _side(e) == kind]
        path = sorted([(anchor.strength, anchor.value), *side])
        if side:
            shapes.append(Shape(line([x(b) for b, _ in path], [y(v) for _, v in path]), kind))
    points = [_point(x(m.strength), y, (m.value, m.stderr), text=_of(m)) for m in members]
    for each in found:
        text = _about(each, reward)
        points.append(
            _point(x(each.beta_target), y, (each.approximated, None), kind=_side(each), text=text)
        )
    return Panel(
        x=x,
        y=y,
        label=f"anchor β = {beta_text(anchor.strength)}",
        y_ticks=axis_ticks(y, 4),
        x_ticks=tuple(Tick(x(beta), beta_text(beta)) for beta in log_ticks(x.low, x.high)),
        shapes=tuple(shapes),
        rules=(Rule(x(anchor.strength), "own"),),
        points=tuple(points),
    )


def _point(
    at: float, y: Scale, measured: tuple[float, float | None], *, text: str, kind: str = "scratch"
) -> Point:
    value, stderr = measured
    if stderr is None:
        return Point(at, y(value), None, None, kind, text)
    error = _error(stderr)
    return Point(at, y(value), y(value - error), y(value + error), kind, text)


def _limits(reward: RewardAgreement) -> list[tuple[float, str]]:
    """Return bias and limits of agreement of λ < 1, each with its class."""
    statistics = reward.statistics.interpolated
    if statistics is None:
        return []
    plot = statistics.bland_altman
    found = [(plot.bias, "bias"), (plot.lower, "limit"), (plot.upper, "limit")]
    return [(measure.value, kind) for measure, kind in found if measure is not None]


def _side(emulation: Emulation) -> str:
    return "inside" if emulation.lam < 1 else "outside"


def _error(stderr: float | None) -> float:
    return _NORMAL_QUANTILE * (stderr or 0.0)


def _of(member: MeanScore) -> str:
    return f"β = {member.strength:g} from scratch: {member.value:.5g}"


def _about(emulation: Emulation, reward: RewardAgreement) -> str:
    places = decimals(reward.curve_range) + 1
    return (
        f"{emulation.anchor} as {emulation.target} (λ = {emulation.lam:.3g}): "
        f"{number(emulation.approximated, places)}, "
        f"{number(emulation.difference, places, signed=True)} against from scratch"
    )
