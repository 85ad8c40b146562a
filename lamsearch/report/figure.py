"""Summary → the figure: J(λ) with its uncertainty, and the same prompts at the evaluated λs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.image import imread
from torch import Tensor

from lamsearch.evaluated import EvaluatedLam, effective_beta
from lamsearch.report.table import beta_text
from lamsearch.summary import Summary

FORMATS = (".png", ".svg", ".pdf")
_POINTS = 201
_TICKS = 6
_CURVE, _ANSWER = "#2b5c8a", "#c1440e"


@dataclass(frozen=True)
class Curve:
    """What the figure's upper part shows.

    Attributes:
        lams: (g,) λ, evenly over the bounds.
        mean: (g,) posterior mean of J.
        lower: (g,) lower end of the pointwise 95 % interval.
        upper: (g,) upper end.
        ticks: λ → label of the axis of β/λ; empty where β is unknown.
    """

    lams: Tensor
    mean: Tensor
    lower: Tensor
    upper: Tensor
    ticks: Mapping[float, str]


def curve(summary: Summary) -> Curve:
    """Return the posterior of J over the bounds as numbers to draw."""
    surrogate = summary.surrogate
    low, high = surrogate.bounds
    lams = torch.linspace(low, high, _POINTS, dtype=torch.float64)
    mean, spread = surrogate.mean(lams), 1.96 * surrogate.variance(lams).sqrt()
    ticks = {}
    if summary.beta is not None:
        for lam in torch.linspace(low, high, _TICKS, dtype=torch.float64).tolist():
            ticks[lam] = beta_text(effective_beta(summary.beta, lam))
    return Curve(lams, mean, mean - spread, mean + spread, ticks)


def draw(summary: Summary, gallery: Mapping[float, Sequence[Path | None]], output: Path) -> None:
    """Write the figure in the format of `output`'s suffix.

    Args:
        summary: The answer of a study.
        gallery: λ → images of the same prompts in the same order; None leaves a gap.
        output: File to write, its suffix one of `FORMATS`.
    """
    rows = max((len(files) for files in gallery.values()), default=0)
    columns = max(len(gallery), 1)
    width = 9.0
    cell = (width - 1.0) / columns
    figure = Figure(figsize=(width, 4.2 + rows * cell + (0.3 if rows else 0)), layout="constrained")
    grid = figure.add_gridspec(
        rows + 1, columns, height_ratios=[4.2, *[cell] * rows], hspace=0.02, wspace=0.02
    )
    _draw_curve(figure.add_subplot(grid[0, :]), summary)
    for column, lam in enumerate(sorted(gallery)):
        for row, file in enumerate(gallery[lam]):
            axes = figure.add_subplot(grid[row + 1, column])
            axes.set_axis_off()
            if file is not None:
                axes.imshow(imread(file), interpolation="nearest")
            if row == 0:
                axes.set_title(f"λ {lam:.2f}", fontsize=8)
    figure.savefig(output, dpi=150)


def _draw_curve(axes: Any, summary: Summary) -> None:
    posterior, evaluations = curve(summary), summary.evaluations
    axes.fill_between(
        posterior.lams,
        posterior.lower,
        posterior.upper,
        color=_CURVE,
        alpha=0.18,
        linewidth=0,
        label="95 % interval of J(λ)",
    )
    axes.plot(posterior.lams, posterior.mean, color=_CURVE, label="posterior mean of J(λ)")
    axes.errorbar(
        [e.lam for e in evaluations],
        [e.value for e in evaluations],
        yerr=_error_bars(evaluations),
        fmt="o",
        markersize=4,
        color="black",
        capsize=2,
        label="evaluations ± 1.96 stderr",
    )
    axes.axvspan(*summary.lam_interval, color=_ANSWER, alpha=0.10, linewidth=0)
    axes.axvline(
        summary.lam,
        color=_ANSWER,
        label=f"λ* = {summary.lam:.3f}, 95 % interval "
        f"{summary.lam_interval[0]:.3f} to {summary.lam_interval[1]:.3f}",
    )
    axes.set_xlabel("λ    (0 = reference, 1 = aligned)")
    axes.set_ylabel(f"mean {summary.reward or 'score'}")
    axes.margins(x=0.02)
    axes.legend(fontsize=8, loc="best", framealpha=0.9)
    axes.spines["right"].set_visible(False)
    if posterior.ticks:
        top = axes.secondary_xaxis("top")
        top.set_xticks(list(posterior.ticks), list(posterior.ticks.values()))
        top.set_xlabel("effective β/λ")


def _error_bars(evaluations: Sequence[EvaluatedLam]) -> list[float]:
    return [0.0 if e.stderr is None else 1.96 * e.stderr for e in evaluations]
