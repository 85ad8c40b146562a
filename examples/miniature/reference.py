"""The reference: a stock `StableDiffusionPipeline` trained from scratch on the pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from examples.miniature.data import captions, draw_pictures, load_scans
from examples.miniature.recipe import Recipe
from examples.miniature.tokens import CONTEXT, new_tokenizer, tokenize
from examples.miniature.training import MovingAverage, report, schedule, take_step

WIDTH = 64
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained CLIP text transformer of two layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CONTEXT,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=WIDTH,
        )
    )


def new_unet() -> UNet2DConditionModel:
    """Return an untrained denoiser: convolutions at 8 by 8, text attention at 4 by 4 only."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2D",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=WIDTH,
    )


@torch.no_grad()
def latent_set(vae: AutoencoderKL, tokenizer: CLIPTokenizer, size: int, seed: int):
    """Draw `size` pictures as (scaled latents, token ids); a tenth have an empty caption."""
    generator = torch.Generator().manual_seed(seed)
    scans, _ = load_scans()
    latents, texts = [], []
    for start in range(0, size, 256):
        pictures = draw_pictures(scans, min(256, size - start), generator)
        latents.append(vae.encode(pictures.images).latent_dist.mean * vae.config.scaling_factor)
        texts += captions(pictures, generator)
    empty = torch.rand(size, generator=generator) < 0.1
    texts = ["" if blank else text for text, blank in zip(texts, empty.tolist(), strict=True)]
    return torch.cat(latents), tokenize(tokenizer, texts)


def denoising_loss(unet, encoder, latents, tokens, generator: torch.Generator) -> torch.Tensor:
    """Return the mean squared error of the noise predictions at random timesteps."""
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.randint(1000, (len(latents),), generator=generator)
    noisy = DDPMScheduler(**NOISE).add_noise(latents, noise, timesteps)
    prediction = unet(noisy, timesteps, encoder(tokens)[0]).sample
    return (prediction - noise).square().mean()


def train_reference(recipe: Recipe, vae_folder: Path, folder: Path) -> None:
    """Train denoiser and text encoder together, average their weights, save the pipeline."""
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed + 2)
    vae = AutoencoderKL.from_pretrained(vae_folder).to(torch.float32)
    tokenizer = new_tokenizer()
    latents, tokens = latent_set(vae, tokenizer, recipe.latents, recipe.seed + 3)
    models = torch.nn.ModuleList([new_unet(), new_text_encoder(tokenizer)])
    average = MovingAverage(models, 0.998)
    optimizer = torch.optim.AdamW(models.parameters(), lr=recipe.reference_rate, weight_decay=0.01)
    decay = schedule(optimizer, recipe.reference_steps)
    for step in range(recipe.reference_steps):
        rows = torch.randint(len(latents), (recipe.reference_batch,), generator=generator)
        loss = denoising_loss(*models, latents[rows], tokens[rows], generator)
        take_step(loss, models, optimizer, decay)
        average.update()
        report("reference", step, recipe.reference_steps, loss.item())
    average.copy_to_module()
    save_pipeline(vae, tokenizer, *models, folder=folder)


def save_pipeline(vae, tokenizer, unet, encoder, *, folder: Path) -> None:
    """Write the stock pipeline in float16."""
    scheduler = EulerAncestralDiscreteScheduler(**NOISE, timestep_spacing="trailing")
    pipe = StableDiffusionPipeline(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.to(dtype=torch.float16).save_pretrained(folder)
