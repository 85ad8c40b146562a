"""Plain LoRA and DoRA as an adapter of peft, compared layer by layer with the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from deradiff.formats.lora_changes import LayerChange
from deradiff.formats.weights import some
from deradiff.options import AnchorError

ADAPTER = "aligned"
"""Name of the adapter in the denoiser."""

_TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-9}
_HALF_TOLERANCE = 0.03


def add_adapter(denoiser: Any, changes: Mapping[str, LayerChange]) -> str:
    """Add an adapter with these changes to a denoiser and return its name.

    Raises:
        AnchorError: If a change does not fit its layer, or peft's layer does something else.
    """
    expected = {}
    for name, change in changes.items():
        try:
            expected[name] = change.new_weight(denoiser.get_submodule(name).weight)
        except AnchorError as error:
            raise AnchorError(f"the layer {name} does not fit: {error}") from error
        except (RuntimeError, ValueError) as error:
            raise AnchorError(f"the factors of the layer {name} do not fit each other") from error
    base = {n: denoiser.get_submodule(n).weight.detach().cpu().double() for n in changes}
    _inject(denoiser, changes)
    for name, change in changes.items():
        layer = denoiser.get_submodule(name)
        # peft computes the scaling anew from these two whenever someone sets adapters.
        layer.lora_alpha[ADAPTER] = change.scale * layer.r[ADAPTER]
        layer.use_rslora[ADAPTER] = False
        layer.scaling[ADAPTER] = change.scale
    _verify(denoiser, changes, expected=expected, base=base)
    return ADAPTER


def _inject(denoiser: Any, changes: Mapping[str, LayerChange]) -> None:
    """Let diffusers add the layers; all names are exact, so nothing else is adapted."""
    factors: dict[str, Tensor] = {}
    for name, change in changes.items():
        is_linear = isinstance(denoiser.get_submodule(name), nn.Linear)
        kernel = () if is_linear else denoiser.get_submodule(name).kernel_size
        down, up = change.parts["down"], change.parts["up"]
        rank = down.shape[0]
        width = down.flatten(1).shape[1]
        for size in kernel:
            width //= size
        factors[f"{name}.lora_A.weight"] = down.reshape(rank, width, *kernel)
        factors[f"{name}.lora_B.weight"] = up.reshape(-1, rank, *(1 for _ in kernel))
        if (magnitude := change.parts.get("magnitude")) is not None:
            shape = (-1,) if is_linear else (1, -1, 1, 1)
            factors[f"{name}.lora_magnitude_vector"] = magnitude.reshape(shape)
    dtype = denoiser.dtype
    denoiser.load_lora_adapter(
        {key: factor.to(dtype).contiguous() for key, factor in factors.items()},
        prefix=None,
        adapter_name=ADAPTER,
    )


def _verify(
    denoiser: nn.Module,
    changes: Mapping[str, LayerChange],
    *,
    expected: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
) -> None:
    """Raise AnchorError unless exactly these layers are adapted, each as recomputed."""
    adapted = {n for n, m in denoiser.named_modules() if ADAPTER in getattr(m, "scaling", {})}
    if adapted != changes.keys():
        raise AnchorError(f"peft adapted other layers: {some(sorted(adapted ^ changes.keys()))}")
    wrong = [
        name
        for name in changes
        if not _agrees(denoiser.get_submodule(name), expected=expected[name], base=base[name])
    ]
    if wrong:
        raise AnchorError(
            f"peft applies other changes than the file's to {some(wrong)}: merge the file into a "
            "whole denoiser and give that folder"
        )


def _agrees(layer: Any, *, expected: Tensor, base: Tensor) -> bool:
    """Return whether an adapted layer's change is the expected one, to rounding."""
    dtype = layer.get_base_layer().weight.dtype
    tolerance = _TOLERANCES.get(dtype, _HALF_TOLERANCE)
    if ADAPTER not in layer.lora_magnitude_vector:
        change = (expected - base).reshape(base.shape)
        ours = layer.get_delta_weight(ADAPTER).detach().cpu().double()
        return bool((ours - change).abs().max() <= tolerance * change.abs().max())
    inputs = torch.randn(
        (1, *expected.shape[1:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    with torch.no_grad():
        given = layer(inputs.to(layer.get_base_layer().weight))
    bias = layer.get_base_layer().bias
    bias = None if bias is None else bias.detach().cpu().double()
    if expected.ndim == 2:
        wanted = functional.linear(inputs, expected, bias)
    else:
        base_layer = layer.get_base_layer()
        wanted = functional.conv2d(
            inputs, expected, bias, stride=base_layer.stride, padding=base_layer.padding
        )
    difference = (given.cpu().double() - wanted).abs().max()
    return bool(difference <= 10 * tolerance * wanted.abs().max())
