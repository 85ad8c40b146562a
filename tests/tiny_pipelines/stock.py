"""The pipelines that most tests share, and the parts that the other families are built from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tiny_clip import tiny_tokenizer

TEXT_WIDTH = 16
SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


@contextmanager
def seeded_weights(seed: int) -> Iterator[None]:
    """Draw weights from a seed, and leave the global random state as it was."""
    with torch.random.fork_rng():
        # `torch.manual_seed` also looks for every other device, which costs a walk of the stack.
        torch.default_generator.manual_seed(seed)
        yield


def perturb(module: nn.Module, seed: int, scale: float = 0.02) -> nn.Module:
    """A copy of `module` with every weight moved a little, as an alignment would."""
    other = copy.deepcopy(module)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in other.parameters():
            weight += scale * torch.randn(weight.shape, generator=generator)
    return other.eval()


def text_config() -> CLIPTextConfig:
    tokenizer = tiny_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


UNET_CONFIG = {
    "sample_size": 8,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,
    "norm_num_groups": 4,
}


def unet(**config: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(**{**UNET_CONFIG, **config})


def vae(**config: object) -> AutoencoderKL:
    defaults = {
        "block_out_channels": (4, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 16,
    }
    return AutoencoderKL(**{**defaults, **config})


def sd15(seed: int = 0) -> StableDiffusionPipeline:
    with seeded_weights(seed):
        pipe = StableDiffusionPipeline(
            vae=vae(),
            text_encoder=CLIPTextModel(text_config()),
            tokenizer=tiny_tokenizer(),
            unet=unet(cross_attention_dim=TEXT_WIDTH),
            scheduler=EulerAncestralDiscreteScheduler(**SCHEDULE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    return _quiet(pipe)


def sdxl(seed: int = 0) -> StableDiffusionXLPipeline:
    with seeded_weights(seed):
        pipe = StableDiffusionXLPipeline(
            vae=vae(),
            text_encoder=CLIPTextModel(text_config()),
            text_encoder_2=CLIPTextModelWithProjection(text_config()),
            tokenizer=tiny_tokenizer(),
            tokenizer_2=tiny_tokenizer(),
            unet=unet(
                cross_attention_dim=2 * TEXT_WIDTH,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * 8,
            ),
            scheduler=EulerAncestralDiscreteScheduler(**SCHEDULE),
            add_watermarker=False,
        )
    return _quiet(pipe)


def _quiet(pipe: StableDiffusionPipeline) -> StableDiffusionPipeline:
    pipe.set_progress_bar_config(disable=True)
    for module in (pipe.unet, pipe.vae, pipe.text_encoder):
        module.eval()
    return pipe


def ddpm(**config: object) -> DDPMScheduler:
    return DDPMScheduler(**{**SCHEDULE, "clip_sample": False, **config})


def flux(seed: int = 0) -> FluxPipeline:
    """Without text encoders: call it with `flux_prompt`."""
    with seeded_weights(seed):
        transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TEXT_WIDTH,
            pooled_projection_dim=TEXT_WIDTH,
            axes_dims_rope=(4, 4, 8),
        )
        pipe = FluxPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(),
            vae=vae(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
            transformer=transformer.eval(),
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def flux_prompt(images: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {
        "prompt_embeds": torch.randn(images, 6, TEXT_WIDTH, generator=generator),
        "pooled_prompt_embeds": torch.randn(images, TEXT_WIDTH, generator=generator),
    }
