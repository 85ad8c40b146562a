"""Text-to-video families."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import UMT5Config, UMT5EncoderModel

from tiny_clip import tiny_tokenizer
from tiny_pipelines.family import (
    Exactness,
    Family,
    Prompts,
    embeddings,
    once_per_image,
    padded_mask,
    seeded,
)
from tiny_pipelines.inputs import TOKENS, encoders, negative
from tiny_pipelines.stock import TEXT_WIDTH, seeded_weights


def _call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    call = {
        "prompt_embeds": embeddings(prompts, TOKENS, TEXT_WIDTH, salt=1),
        **negative(prompts),
        "guidance_scale": 3.0,
        "height": 32,
        "width": 32,
        "num_frames": 5,
    }
    return once_per_image(call, per_prompt, "num_videos_per_prompt")


def _ltx_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    mask = padded_mask(range(len(prompts) * per_prompt), TOKENS)
    call = _call(prompts, per_prompt)
    return {**call, "prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}


def _wan_transformer() -> WanTransformer3DModel:
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=TEXT_WIDTH,
        freq_dim=16,
        ffn_dim=16,
        num_layers=1,
        rope_max_seq_len=32,
    )


def _wan(**second: Any) -> DiffusionPipeline:
    autoencoder = AutoencoderKLWan(
        base_dim=3,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    return WanPipeline(
        transformer=_wan_transformer(),
        scheduler=scheduler,
        vae=autoencoder,
        **encoders(""),
        **second,
    )


def _wan22() -> DiffusionPipeline:
    return _wan(transformer_2=_wan_transformer(), boundary_ratio=0.9)


def _ltx() -> DiffusionPipeline:
    transformer = LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        cross_attention_dim=16,
        num_layers=1,
        caption_channels=TEXT_WIDTH,
    )
    autoencoder = AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(4, 4, 4, 4),
        decoder_block_out_channels=(4, 4, 4, 4),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
    )
    return LTXPipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder,
        **encoders(""),
    )


def _cogvideox() -> DiffusionPipeline:
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=TEXT_WIDTH,
        num_layers=1,
        sample_width=4,
        sample_height=4,
        sample_frames=5,
        max_text_seq_length=TOKENS,
    )
    autoencoder = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    return CogVideoXPipeline(
        transformer=transformer,
        scheduler=CogVideoXDDIMScheduler(prediction_type="v_prediction"),
        vae=autoencoder,
        **encoders(""),
    )


LTX = Family("LTX-Video", seeded(_ltx), _ltx_call)

FAMILIES: tuple[Family, ...] = (
    Family("Wan 2.1", seeded(_wan), _call),
    Family(
        "Wan 2.2, two denoisers",
        seeded(_wan22),
        _call,
        denoisers=("transformer", "transformer_2"),
        steps=3,
    ),
    LTX,
    LTX.with_call("LTX-Video with guidance rescale", Exactness.GUIDED, guidance_rescale=0.7),
    Family("CogVideoX", seeded(_cogvideox), _call),
)


def wan_with_text(seed: int = 0) -> DiffusionPipeline:
    """Wan 2.1 with a text encoder, to be called with prompts."""
    tokenizer = tiny_tokenizer()
    with seeded_weights(seed):
        pipe = _wan()
        encoder = UMT5EncoderModel(
            UMT5Config(
                vocab_size=len(tokenizer),
                d_model=TEXT_WIDTH,
                d_kv=8,
                d_ff=16,
                num_layers=1,
                num_heads=2,
            )
        )
    pipe.register_modules(tokenizer=tokenizer, text_encoder=encoder.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe
