"""Weight files as trainers write them, for tiny denoisers, and the weights they should give."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deradiff import PipelineOptions
from deradiff.loading import load_aligned

Factors = dict[str, tuple[Tensor, Tensor, float]]
"""(A, B, alpha) by the name of a module."""


def attention_layers(denoiser: nn.Module) -> list[str]:
    return [n for n, _ in denoiser.named_modules() if n.endswith(("to_q", "to_v", "to_out.0"))]


def factors(denoiser: nn.Module, names: list[str], *, varied: bool = True) -> Factors:
    """Random factors with a rank and an alpha of each layer's own."""
    generator = torch.Generator().manual_seed(7)
    found = {}
    for number, name in enumerate(names):
        weight = denoiser.get_submodule(name).weight
        rank = 2 + number % 2 if varied else 2
        down = torch.randn(rank, *weight.shape[1:], generator=generator)
        up = torch.randn(weight.shape[0], rank, *(1,) * (weight.ndim - 2), generator=generator)
        found[name] = (0.3 * down, 0.3 * up, float(1 + number % 3) if varied else 1.0)
    return found


def changed(denoiser: nn.Module, given: Factors, strength: float = 1.0) -> nn.Module:
    """The denoiser with strength · alpha / rank · B A added to its weights."""
    other = copy.deepcopy(denoiser)
    with torch.no_grad():
        for name, (down, up, alpha) in given.items():
            weight = other.get_submodule(name).weight
            change = up.flatten(1).double() @ down.flatten(1).double()
            scale = strength * alpha / down.shape[0]
            weight += (scale * change).reshape(weight.shape).to(weight.dtype)
    return other


def kohya(given: Factors, names: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """Keys of kohya's scripts; `names` replaces the modules' own names."""
    state = {}
    for name, (down, up, alpha) in given.items():
        key = "lora_unet_" + (names[name] if names else name).replace(".", "_")
        state[f"{key}.lora_down.weight"], state[f"{key}.lora_up.weight"] = down, up
        state[f"{key}.alpha"] = torch.tensor(alpha)
    return state


def dotted(given: Factors, prefix: str, down_key: str, up_key: str) -> dict[str, Tensor]:
    """Keys of diffusers and peft, which have no alpha of their own."""
    state = {}
    for name, (down, up, _) in given.items():
        state[f"{prefix}{name}.{down_key}.weight"] = down
        state[f"{prefix}{name}.{up_key}.weight"] = up
    return state


def save(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, path, metadata)
    return path


def load(pipe: Any, path: Path, **options: Any) -> nn.Module:
    """The denoiser as it samples at λ = 1."""
    aligned = load_aligned(pipe, path, options=PipelineOptions(**options))
    return (
        pipe.components["unet" if "unet" in pipe.components else "transformer"]
        if isinstance(aligned, str)
        else aligned
    )


def output(unet: nn.Module) -> Tensor:
    """The output of a tiny UNet of SD1.5 for a fixed input."""
    generator = torch.Generator().manual_seed(3)
    sample = torch.randn(1, 4, 8, 8, generator=generator)
    text = torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        prediction: Tensor = unet(sample, torch.tensor(500), text).sample
    return prediction


def assert_same(unet: nn.Module, expected: nn.Module) -> None:
    torch.testing.assert_close(output(unet), output(expected), rtol=1e-4, atol=1e-5)
