"""Section 6: what a sweep over β costs against one alignment and a search over λ, measured.

An alignment is timed by some of its steps, at the settings that the bundled anchors were trained
with, and taken to take as long as all of them.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deradiff.dpo import DPOStep, PreferencePair, train
from examples.miniature.anchors import dpo_settings
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import as_pictures, load_pipeline
from examples.paper.family_images import WORLD, FamilyImages
from lamsearch.agreement.table import Grid

TIMED_STEPS, SKIPPED = 12, 2
PAPER_HOURS, PAPER_EFLOP = 336, 188.7
"""GPU-hours and 10¹⁸ operations of one alignment of SDXL, as the paper states them."""


def saved(strengths: int) -> float:
    """Return what one alignment saves of a sweep of N strengths: 1 − 1/N."""
    return 1 - 1 / strengths


def seconds_per_alignment(family: FamilyImages, device: str) -> float:
    """Return the seconds of an alignment in the bundled world."""
    recipe, times = Recipe(), []
    count = recipe.anchor_batch
    first, second = (as_pictures(family.draw(500, 0.0, seed, images=count)) for seed in (0, 10_000))
    pairs = [
        PreferencePair(prompt, a, b)
        for prompt, a, b in zip(family.prompts, first, second, strict=False)
    ]
    trained = dpo_settings(recipe, beta=500)
    settings = replace(trained, batch_size=min(count, len(pairs)), steps=TIMED_STEPS, warmup=1)

    def note(step: DPOStep) -> None:
        times.append(time.perf_counter())

    with TemporaryDirectory() as folder:
        pipe = load_pipeline(WORLD / "reference").to(device)
        train(pipe, pairs, settings, output=Path(folder) / "anchor", progress=note)
    return (times[-1] - times[SKIPPED]) / (len(times) - 1 - SKIPPED) * recipe.anchor_steps


def table(alignment: float, search: float, strengths: int) -> Grid:
    """Return the cost of a sweep and of one alignment with a search, in seconds and saved.

    Args:
        alignment: Seconds of one alignment.
        search: Seconds of the search.
        strengths: N, how many strengths the sweep aligns.
    """
    sweep, ours = strengths * alignment, alignment + search
    return Grid(
        "cost",
        f"Section 6: {strengths} alignments against one and a search",
        ("", "seconds here", "SDXL, as the paper states it: GPU-hours", "EFLOP"),
        (
            ("one alignment", f"{alignment:.0f}", f"{PAPER_HOURS}", f"{PAPER_EFLOP}"),
            (
                f"a sweep of {strengths}",
                f"{sweep:.0f}",
                f"{strengths * PAPER_HOURS}",
                f"{strengths * PAPER_EFLOP:.1f}",
            ),
            ("a search of 12 λs with 64 images", f"{search:.0f}", "not measured", ""),
            ("one alignment and the search", f"{ours:.0f}", f"{PAPER_HOURS} and the search", ""),
            ("saved, by 1 − 1/N", f"{100 * saved(strengths):.1f} %", "the same", "the same"),
            ("saved, the search included", f"{100 * (1 - ours / sweep):.1f} %", "", ""),
        ),
    )
