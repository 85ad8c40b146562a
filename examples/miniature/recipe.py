"""Every number that the miniature world depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Attributes:
        seed: All other seeds follow from it.
        guidance: The default guidance scale.
        steps: The default number of sampling steps.
        taste: Utility of one standard deviation of vividness.
        pairs: Preference pairs that the anchors are aligned on.
        anchor_rate: Learning rate of the anchor at `anchor_rate_beta`; at another β it is
            proportional to 1/β.
        pool: Prompts of the pool of images that the rewards are tuned on.
        pool_parts: Sources that are sampled for the pool.
        comparisons: Labelled comparisons drawn from the pool.
        prompt_files: Number of prompts for the search, and held out.
        processes: How many do the work; 0 is the build's own, None one for each core.
    """

    seed: int = 0
    vae_steps: int = 1800
    reader_steps: int = 1200
    latents: int = 24_576
    reference_steps: int = 2400
    reference_batch: int = 64
    reference_rate: float = 2e-3
    guidance: float = 3.0
    steps: int = 20
    prompt_files: tuple[int, int] = (200, 100)
    taste: float = 1.5
    pairs: int = 4000
    betas: tuple[int, ...] = (250, 500, 750, 1000, 2000, 5000, 8000, 10_000)
    anchor_rate: float = 1.5e-4
    anchor_rate_beta: int = 500
    anchor_batch: int = 32
    anchor_steps: int = 600
    anchor_warmup: int = 30
    clip_steps: int = 1500
    pool: int = 640
    pool_parts: int = 5
    comparisons: int = 30_000
    preference_steps: int = 800
    curve_points: int = 21
    curve_images: int = 1000
    processes: int | None = None


def smoke(recipe: Recipe) -> Recipe:
    """Return the same recipe with next to no training, to see that the build runs."""
    return replace(
        recipe,
        vae_steps=3,
        reader_steps=3,
        latents=256,
        reference_steps=3,
        pairs=64,
        betas=(250, 500),
        anchor_steps=2,
        clip_steps=3,
        pool=64,
        comparisons=200,
        preference_steps=3,
        steps=4,
        curve_points=3,
        curve_images=8,
        processes=0,  # the imports of others would take longer than the work
    )
