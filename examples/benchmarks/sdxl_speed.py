"""Seconds of SDXL, stock and realigned, on a GPU.

    python -m examples.benchmarks.sdxl_speed --output sdxl_speed.json

The denoisers have SDXL's architecture and random weights in float16, which take as long as trained
ones; prompts are given as embeddings, so text encoders are left out. Images of 1024 × 1024 pixels,
guidance 5.0, Euler Ancestral, as in the paper. The aligned model is a second denoiser, or a LoRA of
rank 64 in the attention layers. Medians over the repetitions, in turns; what the steps do not
explain (the VAE, the start) is in them too.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig

import deradiff
from examples.benchmarks.environment import environment

UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
VAE = {
    "sample_size": 1024,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "scaling_factor": 0.13025,
    "force_upcast": False,
}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]


def denoiser(device: str) -> UNet2DConditionModel:
    """Return SDXL's denoiser with random weights."""
    with torch.device(device):
        model = UNet2DConditionModel(**UNET)
    return model.to(torch.float16).eval()


def pipeline(device: str) -> StableDiffusionXLPipeline:
    """Return SDXL without text encoders, with random weights."""
    with torch.device(device):
        vae = AutoencoderKL(**VAE)
    pipe = StableDiffusionXLPipeline(
        vae=vae.to(torch.float16).eval(),
        unet=denoiser(device),
        scheduler=EulerAncestralDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seconds(pipe: Any, batch: int, steps: int) -> float:
    """Return the seconds of a batch of images."""
    draws = torch.Generator().manual_seed(0)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws).to(pipe.unet.device, torch.float16)

    arguments = {
        name: noise(batch, *shape)
        for name, shape in {
            "prompt_embeds": (77, 2048),
            "negative_prompt_embeds": (77, 2048),
            "pooled_prompt_embeds": (1280,),
            "negative_pooled_prompt_embeds": (1280,),
        }.items()
    }
    torch.cuda.synchronize()
    began = time.perf_counter()
    pipe(
        **arguments,
        num_inference_steps=steps,
        guidance_scale=5.0,
        generator=[torch.Generator().manual_seed(i) for i in range(batch)],
        output_type="pt",
    )
    torch.cuda.synchronize()
    return time.perf_counter() - began


def measure(batch: int, steps: int, repetitions: int) -> dict[str, float]:
    """Return the median seconds of every way to sample."""
    pipe, aligned = pipeline("cuda"), denoiser("cuda")
    taken: dict[str, list[float]] = {}
    seconds(pipe, batch, 2)
    for _ in range(repetitions):
        taken.setdefault("stock", []).append(seconds(pipe, batch, steps))
        for lam in (0.0, 0.5, 1.0):
            with deradiff.realign(pipe, aligned, lam, probe=False):
                taken.setdefault(f"λ = {lam:g}", []).append(seconds(pipe, batch, steps))
    lora = LoraConfig(r=64, target_modules=ATTENTION, init_lora_weights=False)
    pipe.unet.add_adapter(lora, adapter_name="aligned")
    pipe.unet.to(torch.float16)
    with deradiff.realign(pipe, "aligned", 0.5, probe=False):
        taken["λ = 0.5, LoRA"] = [seconds(pipe, batch, steps) for _ in range(repetitions)]
    return {way: median(each) for way, each in taken.items()}


def main(batch: int, steps: int, repetitions: int, output: str | None) -> dict[str, float]:
    found = measure(batch, steps, repetitions)
    stock = found["stock"]
    print(f"{environment()}, {torch.cuda.get_device_name()}")
    print(f"SDXL, 1024 × 1024, float16, {steps} steps, batches of {batch}, {repetitions} times\n")
    print("| | seconds per image | against stock |")
    print("|---|---|---|")
    for way, took in found.items():
        print(f"| {way} | {took / batch:.2f} | {took / stock:.3f} |")
    overhead = found["λ = 0.5"] / (found["λ = 0"] + found["λ = 1"])
    print(f"\nλ = 0.5 takes {overhead:.3f} of λ = 0 and λ = 1 together")
    if output is not None:
        facts = {"environment": environment(), "device": torch.cuda.get_device_name()}
        options = {"batch": batch, "steps": steps, "repetitions": repetitions}
        Path(output).write_text(json.dumps({**facts, **options, "seconds": found}, indent=1))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output")
    main(**vars(parser.parse_args()))
