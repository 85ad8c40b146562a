"""Align SDXL or Stable Diffusion 1.5 by Diffusion-DPO at one β, with the paper's Table 4.

    accelerate launch --num_processes 2 -m examples.paper.align sdxl --pairs pickapic --beta 500

reads the parquet files of Pick-a-Pic v1 in the folder `pickapic` and writes the anchor
`sdxl-anchors/beta500`, which `examples/paper/sdxl.toml` names. Started again, it resumes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DiffusionPipeline

from deradiff import DPOSettings
from deradiff.dpo import DPOStep, PreferenceParquet, train

REFERENCES = {
    "sdxl": "stabilityai/stable-diffusion-xl-base-1.0",
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
VAES = {"sdxl": "madebyollin/sdxl-vae-fp16-fix"}
RESOLUTIONS = {"sdxl": 1024, "sd15": 512}

PROPORTIONAL_RATE = {"learning_rate": 2.048e-8, "learning_rate_beta": 2000}
"""Diffusion-DPO's own rate (arXiv 2311.12908), which falls as 1/β; the paper has 1e-8 for all β."""


def settings(model: str, beta: float, **overrides: Any) -> DPOSettings:
    """Return the paper's settings, with less memory: bfloat16 and gradient checkpointing."""
    less_memory = {"mixed_precision": "bf16", "gradient_checkpointing": True}
    return DPOSettings.preset(model, beta=beta, **{**less_memory, **overrides})


def align(reference: str, chosen: DPOSettings, *, pairs: Path, resolution: int, vae: str | None,
          output: Path) -> Path:  # fmt: skip
    """Align a pipeline with the pairs of a folder of parquet files and return the anchor."""
    accelerator = Accelerator()

    def show(step: DPOStep) -> None:
        if accelerator.is_main_process:
            print(f"step {step.step}: loss {step.loss:.4f}, accuracy {step.accuracy:.2f}")

    other = {} if vae is None else {"vae": AutoencoderKL.from_pretrained(vae, dtype=torch.float32)}
    pipe = DiffusionPipeline.from_pretrained(reference, dtype=torch.float32, **other)
    return train(
        pipe.to(accelerator.device),
        PreferenceParquet(pairs, resolution=resolution),
        chosen,
        output=output,
        progress=show,
        accelerator=accelerator,
    )


def main(arguments: Sequence[str] | None = None) -> Path:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(REFERENCES))
    parser.add_argument("--beta", type=float, required=True)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of parquet files")
    parser.add_argument("--proportional-rate", action="store_true", help="let the rate fall as 1/β")
    parser.add_argument("--reference", help="a pipeline instead of the one on the hub")
    parser.add_argument("--steps", type=int, help="fewer optimiser steps, for a trial")
    given = parser.parse_args(arguments)
    overrides = dict(PROPORTIONAL_RATE) if given.proportional_rate else {}
    if given.steps is not None:
        overrides["steps"] = given.steps
    return align(
        given.reference or REFERENCES[given.model],
        settings(given.model, given.beta, **overrides),
        pairs=given.pairs,
        resolution=RESOLUTIONS[given.model],
        vae=None if given.reference else VAES.get(given.model),
        output=Path(f"{given.model}-anchors") / f"beta{given.beta:g}",
    )


if __name__ == "__main__":
    main()
