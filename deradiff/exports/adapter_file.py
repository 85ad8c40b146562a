"""A LoRA adapter of a denoiser as a file that gives the same adapter again, to the last digit."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deradiff.exports.plain_weights import adapted_layers

FILE = "adapter.safetensors"


def save_adapter(denoiser: nn.Module, adapter: str, folder: Path) -> None:
    """Write the factors of an adapter as they are, with the scale of every layer as its alpha."""
    state: dict[str, Tensor] = {}
    for name, layer in adapted_layers(denoiser, adapter).items():
        state[f"{name}.lora_A.weight"] = layer.lora_A[adapter].weight
        state[f"{name}.lora_B.weight"] = layer.lora_B[adapter].weight
        alpha = _alpha(layer.scaling[adapter], layer.r[adapter])
        state[f"{name}.alpha"] = torch.tensor(alpha, dtype=torch.float64)
        if adapter in layer.lora_magnitude_vector:
            magnitude = layer.lora_magnitude_vector[adapter].weight
            state[f"{name}.lora_magnitude_vector"] = magnitude
    folder.mkdir(parents=True)
    detached = {key: weight.detach().cpu().contiguous() for key, weight in state.items()}
    save_file(detached, folder / FILE, {"format": "pt"})


def _alpha(scale: float, rank: int) -> float:
    """Return the alpha that, divided by the rank, is the scale: rounding may be off by one."""
    alpha = scale * rank
    near = (alpha, math.nextafter(alpha, math.inf), math.nextafter(alpha, -math.inf))
    return next((each for each in near if each / rank == scale), alpha)
