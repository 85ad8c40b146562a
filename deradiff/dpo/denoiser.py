"""Which component of a pipeline is trained, and on what."""

from __future__ import annotations

import inspect

from diffusers import DiffusionPipeline

from deradiff.denoisers import denoiser_names
from deradiff.dpo.flow_inputs import FlowInputs, is_flow_matching
from deradiff.dpo.noised_pairs import DenoiserInputs
from deradiff.dpo.pairs import PreferencePair
from deradiff.dpo.presets import DPOSettings
from deradiff.dpo.unet_inputs import UNetInputs

LORA_TARGETS = (
    *("to_q", "to_k", "to_v", "to_out.0"),
    # of the text in the joint attention of SD3 and Flux
    *("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"),
)
"""Layers that get a LoRA: the projections of the attention."""


def trainable_denoiser(pipe: DiffusionPipeline, *, lora: bool) -> str:
    """Return the name of the denoiser that is trained.

    Args:
        pipe: The pipeline.
        lora: Whether a LoRA of it must be saved.

    Raises:
        TypeError: If the pipeline has none or several, if it is not known how to train it, or if
            the pipeline saves no LoRA.
    """
    names, pipeline = denoiser_names(pipe), type(pipe).__name__
    if len(names) > 1:
        raise TypeError(
            f"{pipeline} has the denoisers {', '.join(names)}: Diffusion-DPO here trains one"
        )
    if getattr(pipe, "vae", None) is None or not hasattr(pipe.vae.config, "scaling_factor"):
        raise TypeError(f"{pipeline} has no VAE with a scaling_factor to encode images with")
    if names != ["unet"] and not is_flow_matching(pipe.scheduler):
        raise TypeError(
            f"{pipeline} has no unet and {type(pipe.scheduler).__name__} does not do flow "
            "matching: Diffusion-DPO here trains unets, and other denoisers by flow matching"
        )
    save = getattr(pipe, "save_lora_weights", None)
    if lora and (
        save is None or f"{names[0]}_lora_layers" not in inspect.signature(save).parameters
    ):
        raise TypeError(f"{pipeline} saves no LoRA of its {names[0]}: leave lora_rank out")
    return names[0]


def denoiser_inputs(
    pipe: DiffusionPipeline, name: str, *, settings: DPOSettings, example: PreferencePair
) -> DenoiserInputs:
    """Return what the denoiser of that name is trained on.

    Raises:
        TypeError: If that is not known here.
    """
    if is_flow_matching(pipe.scheduler):
        return FlowInputs(pipe, name, settings=settings, example=example)
    return UNetInputs(pipe)
