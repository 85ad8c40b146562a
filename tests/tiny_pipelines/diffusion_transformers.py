"""Families with a transformer that predicts noise, some with a learned variance beside it."""

from __future__ import annotations

from typing import Any

from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    HunyuanDiT2DModel,
    HunyuanDiTPipeline,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)

from tiny_pipelines.family import (
    Exactness,
    Family,
    Prompts,
    embeddings,
    once_per_image,
    padded_mask,
    seeded,
)
from tiny_pipelines.inputs import TOKENS, encoders, masked_call
from tiny_pipelines.stock import SCHEDULE, TEXT_WIDTH, vae

NO_BINS = {"use_resolution_binning": False}


def _pixart_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**masked_call(prompts, per_prompt), **NO_BINS, "negative_prompt": None}


def _hunyuan_dit_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {**masked_call(prompts, per_prompt), **NO_BINS}
    for i, sign in enumerate(("", "negative_")):
        call[f"{sign}prompt_embeds_2"] = embeddings(prompts, TOKENS, TEXT_WIDTH, salt=5 + i)
        call[f"{sign}prompt_attention_mask_2"] = padded_mask(prompts, TOKENS)
    return once_per_image(call, per_prompt, "num_images_per_prompt")


def _pixart(pipeline: type[DiffusionPipeline]) -> DiffusionPipeline:
    transformer = PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=TEXT_WIDTH,
        out_channels=8,
        use_additional_conditions=False,
    )
    return pipeline(
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear"),
        vae=vae(),
        **encoders(""),
    )


def _hunyuan_dit() -> DiffusionPipeline:
    transformer = HunyuanDiT2DModel(
        sample_size=8,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        hidden_size=16,
        cross_attention_dim=TEXT_WIDTH,
        cross_attention_dim_t5=TEXT_WIDTH,
        pooled_projection_dim=16,
        text_len=TOKENS,
        text_len_t5=TOKENS,
    )
    return HunyuanDiTPipeline(
        transformer=transformer,
        scheduler=DDIMScheduler(**SCHEDULE, clip_sample=False, prediction_type="v_prediction"),
        vae=vae(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
        **encoders("", "_2"),
    )


HUNYUAN_DIT = Family("Hunyuan-DiT", seeded(_hunyuan_dit), _hunyuan_dit_call)

FAMILIES: tuple[Family, ...] = (
    Family("PixArt-α", seeded(lambda: _pixart(PixArtAlphaPipeline)), _pixart_call, steps=3),
    Family("PixArt-Σ", seeded(lambda: _pixart(PixArtSigmaPipeline)), _pixart_call, steps=3),
    HUNYUAN_DIT,
    HUNYUAN_DIT.with_call(
        "Hunyuan-DiT with guidance rescale", Exactness.GUIDED, guidance_rescale=0.7
    ),
)
