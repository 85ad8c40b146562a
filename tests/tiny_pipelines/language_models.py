"""Families whose prompts go through a language model: Qwen-Image, Z-Image, LongCat, Hunyuan."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLHunyuanImage,
    AutoencoderKLQwenImage,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    HunyuanImagePipeline,
    HunyuanImageTransformer2DModel,
    LongCatImagePipeline,
    LongCatImageTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.guiders import AdaptiveProjectedMixGuidance
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from tiny_pipelines.family import Exactness, Family, Prompts, embeddings, padded_mask, seeded
from tiny_pipelines.inputs import SIZE, TOKENS, encoders, negative, text_call
from tiny_pipelines.stock import TEXT_WIDTH, vae


def _plain_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {
        "prompt_embeds": embeddings(prompts, TOKENS, TEXT_WIDTH, salt=1),
        "prompt_embeds_mask": padded_mask(prompts, TOKENS),
        "num_images_per_prompt": per_prompt,
        **SIZE,
    }


def _true_cfg_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {
        **_plain_call(prompts, per_prompt),
        **negative(prompts),
        "negative_prompt_embeds_mask": padded_mask(prompts, TOKENS),
        "true_cfg_scale": 2.5,
    }


def _hunyuan_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {**_true_cfg_call(prompts, per_prompt), "height": 32, "width": 32}
    del call["true_cfg_scale"]
    for sign in ("", "negative_"):
        call[f"{sign}prompt_embeds_2"] = embeddings(prompts, 4, TEXT_WIDTH, salt=len(sign))
        call[f"{sign}prompt_embeds_mask_2"] = padded_mask(prompts, 4)
    return call


def _z_image_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    # One tensor of (tokens, width) per prompt, which may be of different lengths.
    positive = embeddings(prompts, TOKENS, TEXT_WIDTH, salt=1)
    negative_rows = negative(prompts)["negative_prompt_embeds"]
    return {
        "prompt_embeds": [row[: TOKENS - p] for p, row in zip(prompts, positive, strict=True)],
        "negative_prompt_embeds": list(negative_rows),
        "num_images_per_prompt": per_prompt,
        "guidance_scale": 2.5,
        **SIZE,
    }


def _longcat_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {**text_call(prompts, per_prompt), **SIZE, "enable_prompt_rewrite": False}
    return {**call, "negative_prompt": ["blurred"] * len(prompts)}


def _qwen_image() -> DiffusionPipeline:
    transformer = QwenImageTransformer2DModel(
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        axes_dims_rope=(8, 4, 4),
    )
    autoencoder = AutoencoderKLQwenImage(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    return QwenImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        **encoders(""),
    )


def _z_image() -> DiffusionPipeline:
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=TEXT_WIDTH,
        axes_dims=[8, 4, 4],
        axes_lens=[256, 32, 32],
    )
    return ZImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        **encoders(""),
    )


def _hunyuan_image(**guiders: Any) -> DiffusionPipeline:
    transformer = HunyuanImageTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=not guiders,
        text_embed_dim=TEXT_WIDTH,
        text_embed_2_dim=TEXT_WIDTH,
        rope_axes_dim=(8, 8),
    )
    autoencoder = AutoencoderKLHunyuanImage(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32, 32),
        layers_per_block=1,
        spatial_compression_ratio=4,
        sample_size=32,
        scaling_factor=0.5,
    )
    return HunyuanImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        vae=autoencoder,
        **encoders("", "_2"),
        **guiders,
    )


def _projected() -> dict[str, Any]:
    # Projection and momentum start after the first step.
    return {
        name: AdaptiveProjectedMixGuidance(
            guidance_scale=3.0, adaptive_projected_guidance_start_step=0
        )
        for name in ("guider", "ocr_guider")
    }


def _qwen_tokenizer() -> Qwen2Tokenizer:
    letters = sorted(ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate([*letters, "<|endoftext|>"])}
    return Qwen2Tokenizer(vocab=vocab, merges=[])


def _qwen_vl() -> Qwen2_5_VLForConditionalGeneration:
    text = {
        "vocab_size": len(_qwen_tokenizer()),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {
            "rope_type": "default",
            "mrope_section": [1, 1, 2],
            "rope_theta": 10000.0,
        },
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": 0,
    }
    vision = {
        "depth": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "out_hidden_size": TEXT_WIDTH,
    }
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    )


def _longcat() -> DiffusionPipeline:
    transformer = LongCatImageTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        axes_dims_rope=[4, 4, 8],
    )
    return LongCatImagePipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(latent_channels=16),
        text_encoder=_qwen_vl(),
        tokenizer=_qwen_tokenizer(),
        text_processor=None,
    )


QWEN_IMAGE = Family(
    "Qwen-Image with true guidance",
    seeded(_qwen_image),
    _true_cfg_call,
    exactness=Exactness.GUIDED,
)
Z_IMAGE = Family("Z-Image", seeded(_z_image), _z_image_call)
LONGCAT = Family("LongCat-Image", seeded(_longcat), _longcat_call, exactness=Exactness.GUIDED)

FAMILIES: tuple[Family, ...] = (
    Family("Qwen-Image without true guidance", seeded(_qwen_image), _plain_call),
    QWEN_IMAGE,
    Z_IMAGE,
    Z_IMAGE.with_call("Z-Image without guidance", Exactness.MODEL_OUTPUTS, guidance_scale=0.0),
    Z_IMAGE.with_call("Z-Image with normalised guidance", Exactness.GUIDED, cfg_normalization=True),
    LONGCAT,
    LONGCAT.with_call(
        "LongCat-Image without renormalised guidance",
        Exactness.MODEL_OUTPUTS,
        enable_cfg_renorm=False,
    ),
    Family(
        "Hunyuan-Image 2.1",
        seeded(lambda: _hunyuan_image(**_projected())),
        _hunyuan_call,
        exactness=Exactness.GUIDED,
        steps=3,
    ),
    Family("Hunyuan-Image 2.1, distilled", seeded(_hunyuan_image), _hunyuan_call),
)
