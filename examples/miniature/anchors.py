"""The anchors: the reference aligned from scratch by Diffusion-DPO at several strengths β.

All have the same pairs, number of steps and seed; β differs, and with it the learning rate. The
shift away from the reference that β asks for shrinks as 1/β: at one rate for all, the anchors of
large β overshoot it and end worse than they started.
"""

from __future__ import annotations

from pathlib import Path

import torch

from deradiff.dpo import DPOSettings, DPOStep, train
from examples.miniature.preferences import labelled_pairs
from examples.miniature.recipe import Recipe
from examples.miniature.sampling import load_pipeline, load_unet
from examples.miniature.training import report


def dpo_settings(recipe: Recipe, beta: int) -> DPOSettings:
    """Return the settings that the anchor of a strength is trained with."""
    return DPOSettings(
        beta=beta,
        learning_rate=recipe.anchor_rate,
        learning_rate_beta=recipe.anchor_rate_beta,
        learning_rate_schedule="cosine",
        weight_decay=0.0,
        adam_betas=(0.9, 0.99),
        batch_size=recipe.anchor_batch,
        accumulation=1,
        steps=recipe.anchor_steps,
        warmup=recipe.anchor_warmup,
        seed=recipe.seed,
        cache_latents=True,
    )


def train_anchor(recipe: Recipe, beta: int, work: Path, world: Path) -> None:
    """Align the stored (float16-rounded) reference at strength `beta`; keep the anchor in float16.

    Args:
        recipe: Learning rate, warm-up and number of steps.
        beta: KL strength.
        work: Folder with the pairs and the digit reader.
        world: Folder with the reference; the anchor goes to `anchors/` in it.
    """
    pairs = labelled_pairs(recipe, work)
    settings = dpo_settings(recipe, beta)

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
