"""The anchors: the reference aligned from scratch by Diffusion-DPO at several strengths β.

All have the same pairs, learning rate, number of steps and seed; only β differs.
"""

from __future__ import annotations

from pathlib import Path

import torch

from deradiff.dpo import DPOSettings, DPOStep, train
from examples.miniature.preferences import labelled_pairs
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import load_pipeline, load_unet
from examples.miniature.training import report


def train_anchor(recipe: Recipe, beta: int, work: Path, world: Path) -> None:
    """Align the stored (float16-rounded) reference at strength `beta`; keep the anchor in float16.

    Args:
        recipe: Learning rate and number of steps.
        beta: KL strength.
        work: Folder with the pairs and the digit reader.
        world: Folder with the reference; the anchor goes to `anchors/` in it.
    """
    pairs = labelled_pairs(recipe, work)
    settings = DPOSettings(
        beta=beta,
        learning_rate=recipe.anchor_rate,
        batch_size=recipe.anchor_batch,
        accumulation=1,
        steps=recipe.anchor_steps,
        warmup=recipe.anchor_steps // 10,
        seed=recipe.seed,
        cache_latents=True,
    )

    def progress(step: DPOStep) -> None:
        report(f"beta{beta}", step.step - 1, recipe.anchor_steps, step.loss)

    trained = train(
        load_pipeline(world / "reference"),
        pairs,
        settings,
        output=work / "anchors" / f"beta{beta}",
        progress=progress,
    )
    unet = load_unet(trained / "unet").to(torch.float16)
    unet.save_pretrained(world / "anchors" / f"beta{beta}" / "unet")
