"""Images of the stock pipeline, at the default or other settings, realigned or not."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image

import deradiff

BATCH = 64


class Settings(NamedTuple):
    """How to sample: weight of the aligned model, guidance scale, number of steps."""

    lam: float = 0.0
    guidance: float = 3.0
    steps: int = 20


def load_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Load the stored pipeline in float32, without progress bars."""
    pipe = StableDiffusionPipeline.from_pretrained(folder).to(dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_unet(folder: Path) -> UNet2DConditionModel:
    """Load a stored denoiser in float32."""
    return UNet2DConditionModel.from_pretrained(folder).to(torch.float32).eval()


def sample_images(
    pipe: StableDiffusionPipeline,
    prompts: list[str],
    first_seed: int,
    settings: Settings,
    aligned: UNet2DConditionModel | None = None,
) -> np.ndarray:
    """Sample an image per prompt, uint8 (n, 32, 32, 3); image i has the seed `first_seed` + i."""
    parts = []
    with deradiff.realign(pipe, aligned if aligned is not None else pipe.unet, settings.lam):
        for start in range(0, len(prompts), BATCH):
            texts = prompts[start : start + BATCH]
            seeds = range(first_seed + start, first_seed + start + len(texts))
            images = pipe(
                texts,
                num_inference_steps=settings.steps,
                guidance_scale=settings.guidance,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            ).images
            parts.append(np.stack([np.asarray(image) for image in images]))
    return np.concatenate(parts)


def as_tensor(images: np.ndarray) -> torch.Tensor:
    """Return uint8 (n, 32, 32, 3) as float (n, 3, 32, 32) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pictures(images: np.ndarray) -> list[Image.Image]:
    """Return uint8 (n, 32, 32, 3) as PIL images."""
    return [Image.fromarray(image) for image in images]
