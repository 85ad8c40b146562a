"""Draw the exact world from its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from examples.paper.exact_plane import HALF_WIDTH, emulated, histogram, target
from examples.paper.exact_worlds import Row

CLOSED_FORM, DETERMINISTIC, ANCESTRAL, OTHER = "#1a1a1a", "#1f6fb4", "#d9822b", "#9aa5b1"
COLOURS = {"DDIM": DETERMINISTIC, "Euler ancestral": ANCESTRAL}
WORLD = "aligned narrower"
BINS = 40


def main(rows: Sequence[Row], outputs: Sequence[Path], samples: int) -> None:
    """Write the figure of all rows to files of any format."""
    # Text as paths: the same picture with any fonts, and no date or random ids in the file.
    with plt.rc_context({"font.size": 9, "svg.hashsalt": "lamsearch", "svg.fonttype": "path"}):
        figure, axes = plt.subplots(2, 3, figsize=(10, 6.2), layout="constrained")
        _moments(axes[0, 0], rows)
        _over_lam(axes[0, 1], rows)
        _over_steps(axes[0, 2], rows)
        _over_anchors(axes[1, 0], rows)
        _plane(axes[1, 1], target(0.5).numpy().reshape(BINS, -1, BINS, 160 // BINS).sum((1, 3)))
        axes[1, 1].set_title("three modes, λ = 0.5: Eq. 4")
        drawn = emulated(0.5, sampler="DDIM", steps=200, samples=samples)
        _plane(axes[1, 2], histogram(drawn, BINS).numpy())
        axes[1, 2].set_title("the same, emulated (DDIM)")
        for output in outputs:
            metadata = {"Date": None} if output.suffix == ".svg" else {}
            figure.savefig(output, metadata=metadata, dpi=130)
    plt.close(figure)


def select(rows: Sequence[Row], **values: Any) -> list[Row]:
    """Return the rows with these values; those under guidance or of weaker anchors by request."""
    wanted = {"guidance_scale": 1.0, "anchor": 1.0, **values}
    return [r for r in rows if all(getattr(r, name) == value for name, value in wanted.items())]


def _moments(axes: Axes, rows: Sequence[Row]) -> None:
    steps = max(row.steps for row in rows)
    exact = select(rows, world=WORLD, sampler="DDIM", steps=steps)
    axes.plot(
        [r.target_mean for r in exact],
        [r.target_deviation for r in exact],
        "o-",
        color=CLOSED_FORM,
        markersize=3,
        label="Eq. 4",
    )
    for sampler, colour in COLOURS.items():
        chosen = select(rows, world=WORLD, sampler=sampler, steps=steps)
        means, deviations = [r.mean for r in chosen], [r.deviation for r in chosen]
        axes.plot(means, deviations, "o-", color=colour, markersize=3, label=sampler)
    axes.set(title=f"{WORLD}, λ from 0 to 2", xlabel="mean", ylabel="standard deviation")
    axes.legend(fontsize=8)


def _over_lam(axes: Axes, rows: Sequence[Row]) -> None:
    steps = max(row.steps for row in rows)
    for world, line in (
        ("equal widths", ":"),
        ("aligned narrower", "-"),
        ("aligned wider", "--"),
        ("plane", "-."),
    ):
        for sampler, colour in COLOURS.items():
            chosen = select(rows, world=world, sampler=sampler, steps=steps)
            label = world if sampler == "DDIM" else None
            errors = [r.to_scratch for r in chosen]
            axes.plot([r.lam for r in chosen], errors, line, color=colour, label=label)
    axes.axvline(1, color=OTHER, linewidth=0.8)
    axes.set(title=f"by λ, {steps} steps", xlabel="λ", ylabel="distance to from scratch, %")
    axes.set_ylim(-1, 55)
    axes.legend(fontsize=7)


def _over_steps(axes: Axes, rows: Sequence[Row]) -> None:
    for sampler, colour in COLOURS.items():
        for name, line in (("to_target", "-"), ("scratch_to_target", ":")):
            chosen = select(rows, world=WORLD, sampler=sampler, lam=0.3)
            label = f"{sampler}, " + ("emulated" if line == "-" else "from scratch")
            distances = [getattr(r, name) for r in chosen]
            axes.plot([r.steps for r in chosen], distances, line, color=colour, label=label)
    numbers = sorted({row.steps for row in rows})
    axes.set(xscale="log", title="λ = 0.3, by steps", xlabel="steps", ylim=(0, None))
    axes.set_xticks(numbers, [str(number) for number in numbers], minor=False)
    axes.set_xticks([], minor=True)
    axes.set_ylabel("distance to Eq. 4, %")
    axes.legend(fontsize=7)


def _over_anchors(axes: Axes, rows: Sequence[Row]) -> None:
    steps = max(row.steps for row in rows)
    for sampler, colour in COLOURS.items():
        chosen = [
            r
            for r in rows
            if (r.world, r.sampler, r.steps, r.lam) == (WORLD, sampler, steps, 0.5)
            and r.guidance_scale == 1
        ]
        chosen.sort(key=lambda r: r.anchor)
        errors = [r.to_scratch for r in chosen]
        axes.plot([r.anchor for r in chosen], errors, "o-", color=colour, markersize=3)
    axes.set(title="λ = 0.5, by the anchor's strength", xlim=(0, None), ylim=(0, None))
    axes.set(xlabel="κ, for an anchor aligned at β/κ", ylabel="distance to from scratch, %")


def _plane(axes: Axes, shares: Any) -> None:
    extent = (-HALF_WIDTH, HALF_WIDTH, -HALF_WIDTH, HALF_WIDTH)
    axes.imshow(shares.T, origin="lower", extent=extent, cmap="magma_r", vmin=0, vmax=0.02)
    axes.set(xlim=(-3, 3), ylim=(-3, 3.5), xticks=[], yticks=[])
