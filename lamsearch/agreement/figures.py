"""An agreement → the figures of the paper (arXiv 2601.20198): each takes one reward's results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from lamsearch.agreement.results import RewardAgreement
from lamsearch.plain_text import without_math
from lamsearch.report.rows import beta_text

_SIZE = (6.4, 4.4)
_INSIDE, _OUTSIDE, _SCRATCH = "#2b5c8a", "#c1440e", "black"


def draw_lines(reward: RewardAgreement) -> Figure:
    """Draw each anchor's emulated means over β, and those from scratch (Fig. 4, 8, 9)."""
    members = [m for m in reward.members if m.anchor is not None]
    anchors = list(reversed(members))
    columns = min(4, len(anchors))
    rows = math.ceil(len(anchors) / columns)
    figure = Figure(figsize=(3.1 * columns + 0.6, 2.7 * rows + 0.3), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, anchor in zip(panels.flat, anchors, strict=False):
        errors = [1.96 * (m.stderr or 0.0) for m in members]
        axes.errorbar(
            [m.strength for m in members],
            [m.value for m in members],
            yerr=errors,
            fmt="o-",
            color=_SCRATCH,
            markersize=3,
            linewidth=1,
            capsize=2,
            label="from scratch ± 1.96 stderr",
        )
        found = [e for e in reward.emulations if e.anchor == anchor.anchor]
        for inside, color, label in ((True, _INSIDE, "λ < 1"), (False, _OUTSIDE, "λ > 1")):
            side = [e for e in found if (e.lam < 1) == inside]
            points = sorted(
                [(anchor.strength, anchor.value), *((e.beta_target, e.approximated) for e in side)]
            )
            axes.plot(*zip(*points, strict=True), "s--", color=color, markersize=3, label=label)
        axes.axvline(anchor.strength, color="0.7", linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_title(f"anchor β = {anchor.strength:g}", fontsize=9)
        axes.grid(alpha=0.3)
    for axes in panels.flat[len(anchors) :]:
        axes.set_axis_off()
    low = min(m.value for m in members)
    panels[0, 0].set_ylim(low - 0.15 * reward.curve_range, None)
    panels[0, 0].legend(fontsize=7)
    figure.supxlabel("KL strength β", fontsize=10)
    figure.supylabel(without_math(f"mean {reward.reward}"), fontsize=10)
    return figure


def draw_scatter(reward: RewardAgreement) -> Figure:
    """Draw approximated over original means with the fit, coloured by log2(β_t/β_a) (Fig. 5a)."""
    figure, axes = _axes(f"{reward.reward} from scratch", f"{reward.reward} emulated")
    groups = (
        (True, reward.statistics.interpolated, "o"),
        (False, reward.statistics.extrapolated, "^"),
    )
    largest = max(abs(math.log2(e.lam)) for e in reward.emulations)
    for inside, statistics, marker in groups:
        found = [e for e in reward.emulations if (e.lam < 1) == inside]
        if not found or statistics is None:
            continue
        x = [e.original for e in found]
        points = axes.scatter(
            x,
            [e.approximated for e in found],
            c=[-math.log2(e.lam) for e in found],
            vmin=-largest,
            vmax=largest,
            cmap="coolwarm_r",
            marker=marker,
            edgecolors="0.3",
            label="λ < 1" if inside else "λ > 1",
        )
        if inside and statistics.fit is not None:
            fit, line = statistics.fit, np.array([min(x), max(x)])
            r2 = "" if fit.r_squared is None else f", r² = {fit.r_squared:.3f}"
            label = f"fit of λ < 1: slope {fit.slope:.3f}{r2}"
            axes.plot(line, fit.intercept + fit.slope * line, color=_INSIDE, label=label)
    originals = [e.original for e in reward.emulations]
    ends = [min(originals), max(originals)]
    axes.plot(ends, ends, ":", color="0.4", label="equal")
    figure.colorbar(points, ax=axes, label="log₂(β target / β anchor)")
    axes.legend(fontsize=8)
    return figure


def draw_bland_altman(reward: RewardAgreement) -> Figure:
    """Draw differences over means with the limits of agreement of λ < 1 (Fig. 5b)."""
    figure, axes = _axes(f"mean of both, {reward.reward}", "emulated − from scratch")
    for inside, color, label in ((True, _INSIDE, "λ < 1"), (False, _OUTSIDE, "λ > 1")):
        found = [e for e in reward.emulations if (e.lam < 1) == inside]
        axes.errorbar(
            [(e.original + e.approximated) / 2 for e in found],
            [e.difference for e in found],
            yerr=[1.96 * (e.difference_stderr or 0.0) for e in found],
            fmt="o",
            markersize=4,
            capsize=2,
            linewidth=1,
            color=color,
            label=f"{label}, ± 1.96 stderr",
        )
    statistics = reward.statistics.interpolated
    if statistics is not None:
        plot = statistics.bland_altman
        for measure, style, name in (
            (plot.bias, "-", "bias of λ < 1"),
            (plot.lower, "--", "its limits of agreement"),
            (plot.upper, "--", None),
        ):
            if measure is not None:
                axes.axhline(measure.value, linestyle=style, color=_INSIDE, linewidth=1, label=name)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.legend(fontsize=8)
    return figure


def draw_error_distribution(reward: RewardAgreement) -> Figure:
    """Draw the empirical distribution functions of the absolute differences (Fig. 3)."""
    figure, axes = _axes(f"absolute difference of mean {reward.reward}", "fraction of pairs")
    statistics = reward.statistics
    for side, color, label in (
        (statistics.interpolated, _INSIDE, "λ < 1"),
        (statistics.extrapolated, _OUTSIDE, "λ > 1"),
    ):
        if side is None:
            continue
        found = side.distribution
        axes.step([0, *found.errors], [0, *found.fractions], where="post", color=color, label=label)
        axes.axvline(found.percentile_90, color=color, linestyle=":", linewidth=1)
    axes.plot([], [], ":", color="0.4", label="90th percentile")
    top = axes.secondary_xaxis(
        "top",
        functions=(
            lambda x: 100 * x / reward.curve_range,
            lambda x: x * reward.curve_range / 100,
        ),
    )
    top.set_xlabel("% of the curve's range")
    axes.set_ylim(0, 1.02)
    axes.legend(fontsize=8)
    return figure


def draw_matrix(reward: RewardAgreement) -> Figure:
    """Draw the differences of every anchor at every target, in % of the range (Fig. 11 to 22)."""
    members = [m for m in reward.members if m.anchor is not None]
    size = 0.75 * len(members)
    figure = Figure(figsize=(size + 2.6, size + 1.2), layout="constrained")
    axes: Any = figure.subplots()
    shares = np.full((len(members), len(members)), np.nan)
    for (row, anchor), (column, target) in product(enumerate(members), repeat=2):
        if (found := reward.emulation(anchor, target)) is not None:
            shares[row, column] = 100 * found.difference / reward.curve_range
    limit = float(np.nanmax(np.abs(shares)))
    image = axes.imshow(shares, cmap="RdBu", vmin=-limit, vmax=limit)
    for (row, anchor), (column, target) in product(enumerate(members), repeat=2):
        if (found := reward.emulation(anchor, target)) is not None:
            share = shares[row, column]
            text = f"{share:+.1f}\nλ {found.lam:.3g}"
            color = "white" if abs(share) > 0.6 * limit else "black"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    labels = [beta_text(m.strength) for m in members]
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("target β")
    axes.set_ylabel("anchor β")
    axes.set_title(without_math(f"{reward.reward}: emulated − from scratch"), fontsize=9)
    figure.colorbar(image, ax=axes, label="% of the curve's range", shrink=0.8)
    return figure


FIGURES: Mapping[str, Callable[[RewardAgreement], Figure]] = {
    "lines": draw_lines,
    "scatter": draw_scatter,
    "bland-altman": draw_bland_altman,
    "error-distribution": draw_error_distribution,
    "matrix": draw_matrix,
}
"""Name of a figure's file → what draws it."""


def save(figure: Figure, stem: Any) -> None:
    """Write a figure as PNG and SVG; the same results give the same bytes."""
    figure.savefig(f"{stem}.png", dpi=150)
    with matplotlib.rc_context({"svg.hashsalt": "lamsearch"}):
        figure.savefig(f"{stem}.svg", metadata={"Date": None})


def _axes(x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes: Any = figure.subplots()
    axes.set_xlabel(without_math(x))
    axes.set_ylabel(without_math(y))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return figure, axes
