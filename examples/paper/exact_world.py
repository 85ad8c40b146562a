"""An exact world: where the mixture of every step (Eq. 5) differs from Eq. 4, and by how much.

    python -m examples.paper.exact_world --output exact_world

Reference and aligned model are Gaussians, or mixtures of them on a plane, whose noised scores are
known. So are p[β/λ] of Eq. 4 and a model that is aligned to it perfectly ("from scratch"), and
Gaussians go through diffusers' schedulers without Monte Carlo. Takes about a minute on one core.
Writes exact_world.csv, plane.csv, exact_world.md, exact_world.svg and exact_world.png.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from examples.paper import exact_figure
from examples.paper.exact_figure import COLOURS, select
from examples.paper.exact_plane import PlaneRow, plane_row
from examples.paper.exact_worlds import LAMS, SCALES, STEPS, WORLDS, Row, measure

PLANE_LAMS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
SHOWN_LAMS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.5, 2.0)


def main(
    output: Path,
    *,
    lams: Sequence[float] = LAMS,
    steps: Sequence[int] = STEPS,
    scales: Sequence[float] = SCALES,
    plane_lams: Sequence[float] = PLANE_LAMS,
    samples: int = 20000,
) -> tuple[list[Row], list[PlaneRow]]:
    """Measure, write tables and figures into a folder, and return the rows."""
    output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    rows = list(measure(lams, steps, scales))
    plane = [
        plane_row(lam, sampler=sampler, steps=max(steps), samples=samples)
        for sampler in COLOURS
        for lam in plane_lams
    ]
    _write_csv(output / "exact_world.csv", rows)
    _write_csv(output / "plane.csv", plane)
    tables = "\n".join(_tables(rows, plane))
    (output / "exact_world.md").write_text(f"{tables}\n", encoding="utf-8")
    pictures = [output / "exact_world.svg", output / "exact_world.png"]
    exact_figure.main(rows, pictures, samples)
    return rows, plane


def _write_csv(file: Path, rows: Sequence[Any]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([field.name for field in dataclasses.fields(rows[0])])
        writer.writerows(dataclasses.astuple(row) for row in rows)


def _tables(rows: Sequence[Row], plane: Sequence[PlaneRow]) -> Iterable[str]:
    """Yield the lines of the Markdown tables."""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers"))
    yield "`python -m examples.paper.exact_world`, "
    yield f"python {platform.python_version()}, {libraries}\n"
    most = max(row.steps for row in rows)
    shown = [lam for lam in SHOWN_LAMS if any(row.lam == lam for row in rows)]
    yield f"Distance to a model aligned from scratch, in % of reference to aligned, {most} steps:\n"
    yield from _header("world", "sampler", *(f"λ = {lam}" for lam in shown))
    for world in WORLDS:
        for sampler in COLOURS:
            chosen = select(rows, world=world, sampler=sampler, steps=most)
            yield _line(world, sampler, *(r.to_scratch for r in chosen if r.lam in shown))
    yield "\nBy steps, 'aligned narrower', λ = 0.3: distance to Eq. 4\n"
    yield from _header("sampler", "steps", "emulated", "from scratch")
    for r in select(rows, world="aligned narrower", lam=0.3):
        yield _line(r.sampler, r.steps, r.to_target, r.scratch_to_target)
    yield "\nBy the anchor's strength κ (anchor at β/κ), λ = 0.5:\n"
    yield from _header("κ", "sampler", "distance to from scratch")
    for r in sorted((r for r in rows if r.anchor != 1), key=lambda r: r.anchor):
        yield _line(f"{r.anchor:g}", r.sampler, r.to_scratch)
    yield "\nUnder guidance γ, 50 steps:\n"
    yield from _header("γ", "sampler", *(f"λ = {lam}" for lam in shown))
    for scale in sorted({r.guidance_scale for r in rows}):
        for sampler in COLOURS:
            chosen = select(
                rows, world="aligned narrower", sampler=sampler, steps=50, guidance_scale=scale
            )
            if chosen:
                errors = [r.to_scratch for r in chosen if r.lam in shown]
                yield _line(f"{scale:g}", sampler, *errors)
    yield f"\nOn the plane, {most} steps: shares of the three modes, total variation, its floor\n"
    yield from _header("sampler", "λ", "Eq. 4", "emulated", "between", "variation, %", "floor, %")
    for p in plane:
        modes = (" / ".join(f"{x:.3f}" for x in shares) for shares in (p.target_modes, p.modes))
        between = f"{100 * p.target_between:.1f} / {100 * p.between:.1f} %"
        yield _line(p.sampler, f"{p.lam:g}", *modes, between, p.variation, p.sampling_variation)


def _header(*names: str) -> Iterable[str]:
    yield _line(*names)
    yield "|" + "---|" * len(names)


def _line(*values: object) -> str:
    shown = (f"{value:.1f}" if isinstance(value, float) else str(value) for value in values)
    return f"| {' | '.join(shown)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    main(parser.parse_args().output)
