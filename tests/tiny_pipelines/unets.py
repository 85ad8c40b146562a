"""Families with a UNet: Stable Diffusion 1.5 and 2, SDXL, and what people attach to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    DiffusionPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
)

from tiny_pipelines.attachments import (
    attach_freeu,
    attach_ip_adapter,
    attach_style_lora,
    ip_adapter_call,
)
from tiny_pipelines.family import Exactness, Family, Prompts, seeded
from tiny_pipelines.inputs import picture, text_call
from tiny_pipelines.stock import SCHEDULE, TEXT_WIDTH, UNET_CONFIG, sd15, sdxl, unet

TIME_IDS = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}


def image_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**text_call(prompts, per_prompt), "image": picture(prompts), "strength": 0.7}


def inpaint_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    # One picture per image: given one per prompt, the pipeline takes the noise of the encoder from
    # the first images' generators only, and no image would be the same alone.
    images = range(len(prompts) * per_prompt)
    mask = torch.zeros(len(images), 1, 16, 16)
    mask[..., 8:] = 1.0
    return {
        **text_call(prompts, per_prompt),
        "image": picture(images),
        "mask_image": mask,
        "height": 16,
        "width": 16,
    }


def control_call(prompts: Prompts, per_prompt: int) -> dict[str, Any]:
    return {**text_call(prompts, per_prompt), "image": picture(prompts)}


def _next_seed() -> int:
    """Draw a seed for a builder inside of a builder that `seeded` has started."""
    return int(torch.randint(1000, ()))


def _sd15_parts(**changed: Any) -> dict[str, Any]:
    parts = sd15(_next_seed()).components
    return {**parts, "requires_safety_checker": False, **changed}


def _sdxl_parts(**changed: Any) -> dict[str, Any]:
    parts = {**sdxl(_next_seed()).components, **changed}
    return {**parts, "add_watermarker": False}


def _sd2() -> DiffusionPipeline:
    schedule = {**SCHEDULE, "clip_sample": False}
    scheduler = DDIMScheduler(
        **schedule,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    pipe = sd15(_next_seed())
    pipe.register_modules(scheduler=scheduler)
    return pipe


def _thresholded() -> DiffusionPipeline:
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False, thresholding=True)
    return StableDiffusionPipeline(**_sd15_parts(scheduler=scheduler))


def _inpaint_nine_channels() -> DiffusionPipeline:
    denoiser = unet(cross_attention_dim=TEXT_WIDTH, in_channels=9)
    return StableDiffusionInpaintPipeline(**_sd15_parts(unet=denoiser))


def _controlnet(**config: Any) -> ControlNetModel:
    names = ("block_out_channels", "layers_per_block", "down_block_types", "attention_head_dim")
    shared = {name: UNET_CONFIG[name] for name in (*names, "norm_num_groups")}
    control = ControlNetModel(**shared, conditioning_embedding_out_channels=(4, 8), **config)
    # A ControlNet starts with zeros in its last layers, and would do nothing.
    with torch.no_grad():
        for weight in control.parameters():
            weight += 0.05 * torch.randn_like(weight)
    return control


def _sd15_control() -> DiffusionPipeline:
    control = _controlnet(cross_attention_dim=TEXT_WIDTH)
    return StableDiffusionControlNetPipeline(**_sd15_parts(controlnet=control))


def _sdxl_control() -> DiffusionPipeline:
    size = TEXT_WIDTH + 6 * 8
    control = _controlnet(
        cross_attention_dim=2 * TEXT_WIDTH,
        projection_class_embeddings_input_dim=size,
        **TIME_IDS,
    )
    return StableDiffusionXLControlNetPipeline(**_sdxl_parts(controlnet=control))


def _refiner() -> DiffusionPipeline:
    denoiser = unet(
        cross_attention_dim=TEXT_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 5 * 8,
        **TIME_IDS,
    )
    parts = _sdxl_parts(unet=denoiser, text_encoder=None, tokenizer=None)
    return StableDiffusionXLImg2ImgPipeline(**parts, requires_aesthetics_score=True)


def _lcm() -> DiffusionPipeline:
    denoiser = unet(cross_attention_dim=TEXT_WIDTH, time_cond_proj_dim=8)
    scheduler = LCMScheduler(**SCHEDULE)
    return LatentConsistencyModelPipeline(**_sd15_parts(unet=denoiser, scheduler=scheduler))


def _with_lcm_scheduler() -> DiffusionPipeline:
    pipe = sd15(_next_seed())
    pipe.register_modules(scheduler=LCMScheduler(**SCHEDULE))
    return pipe


SD15 = Family("Stable Diffusion 1.5", sd15, text_call, denoisers=("unet",))
SDXL = replace(SD15, name="SDXL", build=sdxl)
SDXL_REFINER = replace(SD15, name="SDXL refiner", build=seeded(_refiner), call=image_call, steps=4)
RESCALED = {"guidance_rescale": 0.7}

FAMILIES: tuple[Family, ...] = (
    SD15,
    replace(
        SD15,
        name="Stable Diffusion 1.5, image to image",
        build=seeded(lambda: StableDiffusionImg2ImgPipeline(**_sd15_parts())),
        call=image_call,
        steps=4,
    ),
    replace(
        SD15,
        name="Stable Diffusion 1.5, inpainting with a text-to-image UNet",
        build=seeded(lambda: StableDiffusionInpaintPipeline(**_sd15_parts())),
        call=inpaint_call,
    ),
    replace(
        SD15,
        name="Stable Diffusion 1.5, inpainting with an inpainting UNet",
        build=seeded(_inpaint_nine_channels),
        call=inpaint_call,
    ),
    replace(
        SD15,
        name="Stable Diffusion 1.5 with ControlNet",
        build=seeded(_sd15_control),
        call=control_call,
    ),
    replace(
        SD15,
        name="Stable Diffusion 1.5 with IP-Adapter",
        call=ip_adapter_call,
        attach=attach_ip_adapter,
    ),
    replace(SD15, name="Stable Diffusion 1.5 with FreeU", attach=attach_freeu),
    replace(SD15, name="Stable Diffusion 1.5 with a style LoRA", attach=attach_style_lora),
    replace(
        SD15,
        name="Stable Diffusion 1.5 with perturbed-attention guidance",
        build=seeded(lambda: StableDiffusionPAGPipeline(**_sd15_parts(), pag_applied_layers="mid")),
    ),
    SD15.with_call("Stable Diffusion 1.5 with guidance rescale", Exactness.GUIDED, **RESCALED),
    replace(
        SD15,
        name="Stable Diffusion 1.5, DDIM with dynamic thresholding",
        build=seeded(_thresholded),
        exactness=Exactness.STEPS,
    ),
    replace(SD15, name="Stable Diffusion 1.5, LCM scheduler", build=seeded(_with_lcm_scheduler)),
    replace(SD15, name="Latent consistency model", build=seeded(_lcm)),
    replace(SD15, name="Stable Diffusion 2, v-prediction and zero SNR", build=seeded(_sd2)),
    SDXL,
    SDXL_REFINER,
    replace(SDXL, steps=4).with_call(
        "SDXL, the first half of the steps, before a refiner",
        Exactness.MODEL_OUTPUTS,
        denoising_end=0.5,
    ),
    SDXL_REFINER.with_call(
        "SDXL refiner, the second half of the steps", Exactness.MODEL_OUTPUTS, denoising_start=0.5
    ),
    replace(
        SD15,
        name="SDXL, image to image",
        build=seeded(lambda: StableDiffusionXLImg2ImgPipeline(**_sdxl_parts())),
        call=image_call,
        steps=4,
    ),
    replace(SD15, name="SDXL with ControlNet", build=seeded(_sdxl_control), call=control_call),
    replace(SDXL, name="SDXL with a style LoRA", attach=attach_style_lora),
    SDXL.with_call("SDXL with guidance rescale", Exactness.GUIDED, **RESCALED),
)
