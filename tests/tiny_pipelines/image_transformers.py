"""Text-to-image families with a transformer under flow matching."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderDC,
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from tiny_clip import tiny_tokenizer
from tiny_pipelines.family import Exactness, Family, Prompts, seeded
from tiny_pipelines.inputs import (
    base_call,
    encoders,
    gemma,
    guided_call,
    masked_call,
    picture,
    sized_text_call,
    t5,
)
from tiny_pipelines.stock import TEXT_WIDTH, text_config, vae

LUMINA_SIZE = {"height": 64, "width": 64}
LONG = "blurred and much too dark"


def lumina_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    # No prompt is padded at this length: the pipeline repeats masks in another order than prompts.
    call = {**negative_text_call(prompts, per_prompt), "max_sequence_length": 18}
    return {**call, "negative_prompt": [LONG] * len(prompts), "system_prompt": "", **LUMINA_SIZE}


def flux_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**sized_text_call(prompts, per_prompt), "max_sequence_length": 8}


def negative_text_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**flux_call(prompts, per_prompt), "negative_prompt": ["blurred"] * len(prompts)}


def kontext_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {**flux_call(prompts, per_prompt), "image": picture(prompts)}
    return {**call, "max_area": 16 * 16, "_auto_resize": False}


def sana_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {**masked_call(prompts, per_prompt), "height": 32, "width": 32}
    return {**call, "use_resolution_binning": False, "negative_prompt": None}


def _sd3(**config: Any) -> DiffusionPipeline:
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * TEXT_WIDTH,
        **config,
    )
    return StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=CLIPTextModelWithProjection(text_config()),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(text_config()),
        tokenizer_2=tiny_tokenizer(),
        text_encoder_3=None,
        tokenizer_3=None,
    )


def _flux(pipeline: type[DiffusionPipeline] = FluxPipeline, **config: Any) -> DiffusionPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        axes_dims_rope=(4, 4, 8),
        **config,
    )
    # These pipelines do not repeat given embeddings for the images of a prompt, only texts.
    return pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(shift_factor=0.1),
        text_encoder=CLIPTextModel(text_config()),
        tokenizer=tiny_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=tiny_tokenizer(),
    )


def _flux2(pipeline: type[DiffusionPipeline], **config: Any) -> DiffusionPipeline:
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        **config,
    )
    autoencoder = AutoencoderKLFlux2(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
    )
    return pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        **encoders(""),
    )


def _chroma() -> DiffusionPipeline:
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        axes_dims_rope=(4, 4, 8),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return ChromaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        text_encoder=t5(),
        tokenizer=tiny_tokenizer(),
    )


def _aura_flow() -> DiffusionPipeline:
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        in_channels=4,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=TEXT_WIDTH,
        caption_projection_dim=16,
        pos_embed_max_size=64,
    )
    return AuraFlowPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        **encoders(""),
    )


def _lumina2() -> DiffusionPipeline:
    transformer = Lumina2Transformer2DModel(
        sample_size=8,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=8,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(64, 16, 16),
        cap_feat_dim=TEXT_WIDTH,
    )
    return Lumina2Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae(),
        text_encoder=gemma(),
        tokenizer=tiny_tokenizer(),
    )


def _sana() -> DiffusionPipeline:
    transformer = SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=TEXT_WIDTH,
        sample_size=8,
    )
    autoencoder = AutoencoderDC(
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock",) * 2,
        decoder_block_types=("ResBlock",) * 2,
        encoder_block_out_channels=(4, 8),
        decoder_block_out_channels=(4, 8),
        encoder_qkv_multiscales=((), ()),
        decoder_qkv_multiscales=((), ()),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
    )
    return SanaPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder,
        **encoders(""),
    )


SD3 = Family("Stable Diffusion 3", seeded(_sd3), sized_text_call)
SD35 = replace(
    SD3,
    name="Stable Diffusion 3.5",
    build=seeded(lambda: _sd3(qk_norm="rms_norm", dual_attention_layers=(0,))),
)
FLUX_DEV = Family("Flux.1 dev", seeded(lambda: _flux(guidance_embeds=True)), flux_call)
LUMINA2 = Family("Lumina Image 2.0", seeded(_lumina2), lumina_call, exactness=Exactness.GUIDED)
SKIPPED_LAYERS = {"skip_guidance_layers": [0], "skip_layer_guidance_stop": 0.9}

FAMILIES: tuple[Family, ...] = (
    SD3,
    SD35,
    SD35.with_call(
        "Stable Diffusion 3.5 with skip-layer guidance", Exactness.MODEL_OUTPUTS, **SKIPPED_LAYERS
    ),
    FLUX_DEV,
    replace(FLUX_DEV, name="Flux.1 schnell", build=seeded(_flux)),
    replace(FLUX_DEV, call=negative_text_call).with_call(
        "Flux.1 dev with true guidance", Exactness.MODEL_OUTPUTS, true_cfg_scale=2.5
    ),
    Family(
        "Flux.1 Kontext",
        seeded(lambda: _flux(FluxKontextPipeline, guidance_embeds=True)),
        kontext_call,
    ),
    Family("Flux.2 dev", seeded(lambda: _flux2(Flux2Pipeline)), base_call),
    Family(
        "Flux.2 klein",
        seeded(lambda: _flux2(Flux2KleinPipeline, guidance_embeds=False)),
        guided_call,
    ),
    Family("Chroma", seeded(_chroma), negative_text_call),
    Family("AuraFlow", seeded(_aura_flow), masked_call),
    Family("Sana", seeded(_sana), sana_call),
    LUMINA2,
    LUMINA2.with_call(
        "Lumina Image 2.0 without normalised guidance",
        Exactness.MODEL_OUTPUTS,
        cfg_normalization=False,
    ),
)
