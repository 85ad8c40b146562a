"""Summary → the figure: the rewards with their uncertainty, and the same prompts at the λs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.image import imread

from lamsearch.plain_text import without_math
from lamsearch.report.rows import beta_text, effective_beta
from lamsearch.report.summary import Summary
from lamsearch.report.table import lam_digits
from lamsearch.surrogate.model import Surrogate

_POINTS = 201
_TICKS = 6
_LINE = 130
_WIDTH, _HEIGHT, _OTHER_HEIGHT = 9.0, 4.2, 1.4
_CURVE, _OTHER, _ANSWER = "#2b5c8a", "#5b7553", "#c1440e"


def draw(summary: Summary, gallery: Mapping[float, Sequence[Path | None]], output: Path) -> None:
    """Write the figure in the format of `output`'s suffix.

    Args:
        summary: The answer of a study.
        gallery: λ → images of the same prompts in the same order; None leaves a gap.
        output: File to write, in a format that matplotlib knows.
    """
    rows = max((len(files) for files in gallery.values()), default=0)
    columns = max(len(gallery), 1)
    cell = (_WIDTH - 1.0) / columns
    heights = [_HEIGHT, *[_OTHER_HEIGHT] * len(summary.others), *[cell] * rows]
    figure = Figure(figsize=(_WIDTH, sum(heights) + (0.3 if rows else 0)), layout="constrained")
    grid = figure.add_gridspec(
        len(heights), columns, height_ratios=heights, hspace=0.02, wspace=0.02
    )
    axes = figure.add_subplot(grid[0, :])
    _draw_objective(axes, summary)
    for panel, other in enumerate(summary.others, start=1):
        axes.tick_params(labelbottom=False)
        axes = figure.add_subplot(grid[panel, :], sharex=axes)
        _draw_curve(axes, other.surrogate, _OTHER)
        _mark_answer(axes, summary)
        axes.set_ylabel(without_math(f"mean {other.name}"))
    axes.set_xlabel("λ    (0 = reference, 1 = aligned)")
    digits = lam_digits(summary) - 1
    _draw_images(figure, grid, gallery=gallery, first_row=len(heights) - rows, digits=digits)
    if summary.notes:
        text = "\n".join(fill(without_math(f"note: {note.text}"), _LINE) for note in summary.notes)
        figure.supxlabel(text, fontsize=8, x=0.01, ha="left")
    figure.savefig(output, dpi=150)


def _draw_images(
    figure: Figure,
    grid: Any,
    *,
    gallery: Mapping[float, Sequence[Path | None]],
    first_row: int,
    digits: int,
) -> None:
    """Draw one column of images per λ, below the curves."""
    for column, lam in enumerate(sorted(gallery)):
        for row, file in enumerate(gallery[lam], start=first_row):
            axes = figure.add_subplot(grid[row, column])
            axes.set_axis_off()
            if file is not None:
                axes.imshow(imread(file), interpolation="nearest")
            if row == first_row:
                axes.set_title(f"λ {lam:.{digits}f}", fontsize=8)


def _draw_objective(axes: Any, summary: Summary) -> None:
    _draw_curve(axes, summary.surrogate, _CURVE)
    _mark_answer(axes, summary)
    axes.set_ylabel(without_math(f"mean {summary.reward or 'score'}"))
    axes.margins(x=0.02)
    axes.legend(fontsize=8, loc="best", framealpha=0.9)
    if summary.beta is not None:
        lams = torch.linspace(*summary.surrogate.bounds, _TICKS, dtype=torch.float64).tolist()
        top = axes.secondary_xaxis("top")
        top.set_xticks(lams, [beta_text(effective_beta(summary.beta, lam)) for lam in lams])
        top.set_xlabel("effective β/λ")


def _draw_curve(axes: Any, surrogate: Surrogate, color: str) -> None:
    """Draw the posterior of a reward with pointwise intervals, and what was observed of it."""
    lams = torch.linspace(*surrogate.bounds, _POINTS, dtype=torch.float64)
    mean, half = surrogate.mean(lams), 1.96 * surrogate.variance(lams).sqrt()
    label = "95 % interval of J(λ), up to a common shift"
    axes.fill_between(
        lams, mean - half, mean + half, color=color, alpha=0.18, linewidth=0, label=label
    )
    axes.plot(lams, mean, color=color, label="posterior mean of J(λ)")
    observed = surrogate.observations
    axes.errorbar(
        observed.lams,
        observed.values,
        yerr=1.96 * observed.variances.nan_to_num(0.0).sqrt(),
        fmt="o",
        markersize=4,
        color="black",
        capsize=2,
        label="evaluations ± 1.96 stderr",
    )
    axes.spines["right"].set_visible(False)


def _mark_answer(axes: Any, summary: Summary) -> None:
    (low, high), digits = summary.lam_interval, lam_digits(summary)
    axes.axvspan(low, high, color=_ANSWER, alpha=0.10, linewidth=0)
    interval = f"{low:.{digits}f} to {high:.{digits}f}"
    label = f"λ* = {summary.lam:.{digits}f}, 95 % interval {interval}"
    axes.axvline(summary.lam, color=_ANSWER, label=label)
