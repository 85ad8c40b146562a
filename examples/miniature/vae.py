"""The autoencoder: a stock `AutoencoderKL` that maps 32 by 32 pictures to 4 by 8 by 8 latents."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL

from examples.miniature.data import IMAGE_SIZE, draw_pictures, load_scans
from examples.miniature.recipe import Recipe
from examples.miniature.training import report, schedule, take_step


def new_vae() -> AutoencoderKL:
    """Return an untrained autoencoder."""
    return AutoencoderKL(
        block_out_channels=(8, 16, 32),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )


def vae_loss(vae: AutoencoderKL, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return a latent draw's reconstruction error, plus a light pull of the latents to N(0, 1)."""
    posterior = vae.encode(images).latent_dist
    restored = vae.decode(posterior.sample(generator)).sample
    error = restored - images
    return error.abs().mean() + 2 * error.square().mean() + 1e-4 * posterior.kl().mean() / 256


@torch.no_grad()
def set_latent_scale(vae: AutoencoderKL, images: torch.Tensor) -> None:
    """Store the factor that gives the latents unit variance, where diffusers looks for it."""
    vae.register_to_config(scaling_factor=1 / vae.encode(images).latent_dist.mean.std().item())


def train_vae(recipe: Recipe, folder: Path) -> None:
    """Train the autoencoder on pictures drawn afresh at every step."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + 1)
    scans, _ = load_scans()
    vae = new_vae()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0)
    decay = schedule(optimizer, recipe.vae_steps)
    for step in range(recipe.vae_steps):
        images = draw_pictures(scans, 16, generator, saturation=(0.3, 1.15)).images.clamp(-1, 1)
        loss = vae_loss(vae, images, generator)
        take_step(loss, vae, optimizer, decay)
        report("vae", step, recipe.vae_steps, loss.item())
    set_latent_scale(vae, draw_pictures(scans, 512, generator).images)
    vae.half().save_pretrained(folder)
