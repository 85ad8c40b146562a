"""Tiny real diffusers pipelines, built from configs with seeded random weights."""

from tiny_pipelines.stock import (
    SCHEDULE,
    TEXT_WIDTH,
    ddpm,
    flux,
    flux_prompt,
    perturb,
    sd15,
    sdxl,
    seeded_weights,
)
from tiny_pipelines.stock import vae as _vae

__all__ = [
    "SCHEDULE",
    "TEXT_WIDTH",
    "_vae",
    "ddpm",
    "flux",
    "flux_prompt",
    "perturb",
    "sd15",
    "sdxl",
    "seeded_weights",
]
