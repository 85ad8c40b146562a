"""Denoisers and weights without adapters: what other programs can load."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from accelerate import init_empty_weights  # type: ignore[import-untyped]
from torch import Tensor, nn

from deradiff.adapters import without_adapters


def plain_denoiser(denoiser: nn.Module) -> nn.Module:
    """Return a denoiser without its adapters; the weights are shared, not copied."""
    if not getattr(denoiser, "peft_config", None):
        return denoiser
    return denoiser_with(denoiser, plain_weights(denoiser))


def plain_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's own weights under the names that they have without adapters."""
    return without_adapters(module.state_dict())


def aligned_weights(module: nn.Module, aligned: nn.Module | str) -> dict[str, Tensor]:
    """Return the weights of the aligned model, with those of an adapter merged in float64.

    Args:
        module: The reference's component.
        aligned: The aligned one, or the name of an adapter in `module`.
    """
    if isinstance(aligned, nn.Module):
        return dict(aligned.state_dict())
    weights = plain_weights(module)
    for name, layer in adapted_layers(module, aligned).items():
        # A copy of one layer at a time: merging in the weights' own type would round twice.
        merged = copy.deepcopy(layer).cpu().double()
        merged.merge(adapter_names=[aligned])
        weights[f"{name}.weight"] = merged.get_base_layer().weight.detach()
    return weights


def adapted_layers(module: nn.Module, adapter: str) -> dict[str, Any]:
    """Return the layers that an adapter changes by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, BaseTunerLayer) and adapter in getattr(layer, "scaling", {})
    }


def denoiser_with(denoiser: Any, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return a denoiser of the same configuration around these very weights."""
    with init_empty_weights(include_buffers=False):
        plain: nn.Module = type(denoiser).from_config(denoiser.config)
    plain.load_state_dict(weights, assign=True)
    return plain.to(denoiser.device).eval().requires_grad_(False)
