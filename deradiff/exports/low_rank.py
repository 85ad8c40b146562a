"""The change of an anchor as a LoRA: the factors it has, or the nearest of a given rank.

| symbol | meaning | shape |
|---|---|---|
| Δ | θ_aligned − θ_ref of a layer | (out, in·k·k) |
| U, s, V | its singular values and vectors | |
| B A | λ·U s V of the r largest s, the nearest of rank r (Eckart–Young) | (out, r), (r, in) |

λ and every scale are folded into B, and all layers have the same rank, with rows of zeros where
they need fewer: loaders disagree about alphas and ranks that vary from layer to layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from deradiff.anchor import Anchor
from deradiff.exports.merged import aligned_components
from deradiff.exports.plain_weights import (
    adapted_layers,
    aligned_weights,
    denoiser_with,
    plain_weights,
)
from deradiff.options import AnchorError

DIFFUSERS_FILE, KOHYA_FILE = "pytorch_lora_weights.safetensors", "kohya.safetensors"

Factors = dict[str, tuple[Tensor, Tensor]]
"""(A, B) by the layer's name: float64, (rank, in, …) and (out, rank, …)."""


@dataclass(frozen=True)
class LowRank:
    """A LoRA that moves the reference towards the aligned model when it is loaded at strength 1.

    Attributes:
        component: Name of the denoiser that it belongs to.
        rank: Rank of all its layers.
        share: ‖λΔ of the LoRA‖ / ‖λΔ‖ over all weights, of which 1 is everything.
        factors: Its factors, with λ in them.
        is_own: Whether the factors are those of the anchor's own LoRA.
    """

    component: str
    rank: int
    share: float
    factors: Factors
    is_own: bool

    def applied_to(self, denoiser: nn.Module) -> nn.Module:
        """Return the denoiser with the LoRA merged into its weights."""
        weights = plain_weights(denoiser)
        for name, (down, up) in self.factors.items():
            weight = weights[f"{name}.weight"]
            change = (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
            changed = weight.detach().to("cpu", torch.float64) + change
            weights[f"{name}.weight"] = changed.to(weight.device, weight.dtype)
        return denoiser_with(denoiser, weights)

    def save(self, folder: Path, *, dtype: torch.dtype, kohya: bool) -> None:
        """Write the LoRA as diffusers' `load_lora_weights` reads it.

        Args:
            folder: Where to write it.
            dtype: Type of the factors in the file.
            kohya: Whether to write it in kohya's format too, which other programs read.
        """
        state, other = {}, {}
        for name, pair in self.factors.items():
            down, up = (factor.to(dtype).contiguous() for factor in pair)
            state[f"{self.component}.{name}.lora_A.weight"] = down
            state[f"{self.component}.{name}.lora_B.weight"] = up
            key = f"lora_{self.component}_{name.replace('.', '_')}"
            other[f"{key}.lora_down.weight"], other[f"{key}.lora_up.weight"] = down, up
            other[f"{key}.alpha"] = torch.tensor(float(self.rank))
        save_file(state, folder / DIFFUSERS_FILE, {"format": "pt"})
        if kohya:
            metadata = {"ss_network_dim": str(self.rank), "ss_network_alpha": f"{self.rank}.0"}
            save_file(other, folder / KOHYA_FILE, {"format": "pt", **metadata})


def low_rank(anchor: Anchor, lam: float, rank: int) -> LowRank:
    """Return λ times an anchor's change as a LoRA.

    Args:
        anchor: The anchor.
        lam: λ.
        rank: Rank of the factors, unless the anchor is itself a plain LoRA, which has its own.

    Raises:
        AnchorError: If more than one denoiser differs, which one LoRA cannot hold, or nothing does.
    """
    parts = aligned_components(anchor)
    if len(parts) > 1:
        raise AnchorError(
            f"the aligned model differs in {', '.join(parts)}, and a LoRA holds one denoiser: "
            "export it as merged or realigned"
        )
    ((component, aligned),) = parts.items()
    denoiser = anchor.pipe.components[component]
    if isinstance(aligned, str) and _is_plain(denoiser, aligned):
        return _own(component, adapted_layers(denoiser, aligned), aligned, lam)
    ours, theirs = plain_weights(denoiser), aligned_weights(denoiser, aligned)
    return _nearest(component, _shapes(denoiser), _changes(ours, theirs), lam=lam, rank=rank)


def _is_plain(denoiser: nn.Module, adapter: str) -> bool:
    """Return whether an adapter is a LoRA without magnitudes: λ times it is a LoRA again."""
    layers = adapted_layers(denoiser, adapter).values()
    return not any(adapter in layer.lora_magnitude_vector for layer in layers)


def _own(component: str, layers: Mapping[str, Any], adapter: str, lam: float) -> LowRank:
    rank = max(layer.r[adapter] for layer in layers.values())
    factors: Factors = {}
    for name, layer in layers.items():
        pair = (layer.lora_A[adapter].weight, layer.lora_B[adapter].weight)
        down, up = (factor.detach().to("cpu", torch.float64) for factor in pair)
        factors[name] = _padded(down, lam * layer.scaling[adapter] * up, rank)
    return LowRank(component, rank, 1.0, factors, is_own=True)


def _nearest(
    component: str,
    shapes: Mapping[str, torch.Size],
    changes: Mapping[str, Tensor],
    *,
    lam: float,
    rank: int,
) -> LowRank:
    factors: Factors = {}
    kept = 0.0
    total = sum(float(change.square().sum()) for change in changes.values())
    rank = min(rank, max(min(shape[0], shape[1:].numel()) for shape in shapes.values()))
    for name, shape in shapes.items():
        change = changes[f"{name}.weight"]
        if not change.any():
            continue
        left, sizes, right = torch.linalg.svd(change.flatten(1), full_matrices=False)
        sizes = sizes[:rank]
        kept += float(sizes.square().sum())
        root = sizes.sqrt()
        up, down = lam * left[:, :rank] * root, root[:, None] * right[:rank]
        kernel = (1,) * (len(shape) - 2)
        factors[name] = _padded(down.reshape(-1, *shape[1:]), up.reshape(*up.shape, *kernel), rank)
    if not factors:
        raise AnchorError("no linear layer or convolution differs, so there is no LoRA: use merged")
    return LowRank(component, rank, math.sqrt(kept / total), factors, is_own=False)


def _shapes(denoiser: nn.Module) -> dict[str, torch.Size]:
    """Return the shapes of the weights that a LoRA can change, by the layer's name."""
    plain = {n.removesuffix(".base_layer"): m for n, m in denoiser.named_modules()}
    return {
        name: module.weight.shape
        for name, module in plain.items()
        if ".lora_" not in name
        and isinstance(module, nn.Linear | nn.Conv2d)
        and getattr(module, "groups", 1) == 1
    }


def _changes(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def wide(weight: Tensor) -> Tensor:
        return weight.detach().to("cpu", torch.float64)

    return {
        name: wide(theirs[name]) - wide(weight)
        for name, weight in ours.items()
        if weight.is_floating_point()
    }


def _padded(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return the factors with rows and columns of zeros up to the rank."""
    more = rank - down.shape[0]
    rows, columns = (
        down.new_zeros(more, *down.shape[1:]),
        up.new_zeros(up.shape[0], more, *up.shape[2:]),
    )
    return torch.cat([down, rows]), torch.cat([up, columns], dim=1)
