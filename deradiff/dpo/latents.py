"""Images → the latents that a pipeline's denoiser works on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor


@torch.no_grad()
def encoded_images(pipe: DiffusionPipeline, images: Sequence[Image.Image]) -> Tensor:
    """Return the modes of the VAE's posteriors, (B, C, H, W), before any scaling."""
    vae = pipe.vae
    pixels = pipe.image_processor.preprocess(list(images)).to(vae.device, vae.dtype)
    encoded = vae.encode(pixels, return_dict=False)[0]
    mode: Tensor = encoded if isinstance(encoded, Tensor) else encoded.mode()
    return mode


def scaled_latents(pipe: DiffusionPipeline, encoded: Tensor) -> Tensor:
    """Return encoded images, shifted and scaled as the VAE's configuration says."""
    shift = getattr(pipe.vae.config, "shift_factor", None)
    centred = encoded if shift is None else encoded - shift
    scaled: Tensor = centred * pipe.vae.config.scaling_factor
    return scaled
