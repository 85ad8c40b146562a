"""Apply a LoRA file, or one of its relatives, to a denoiser, exactly.

The file's own numbers decide. Plain LoRA and DoRA become an adapter in the reference's denoiser,
which holds one set of base weights; all other kinds become a merged copy of it. Each adapted layer
is compared with the change recomputed from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from deradiff.formats.fused_layers import split_fused_layers
from deradiff.formats.layer_names import LayerNames, match_layers
from deradiff.formats.lora_adapter import add_adapter
from deradiff.formats.lora_changes import LayerChange
from deradiff.formats.lora_checks import require_sound
from deradiff.formats.lora_conversion import convert_by_diffusers, require_same_rows
from deradiff.formats.lora_keys import LayerParts, format_name, parse_keys
from deradiff.formats.lora_merge import merged_copy
from deradiff.formats.lora_scale import Scales, read_scales
from deradiff.formats.weights import some
from deradiff.options import AnchorError


def load_lora(
    pipe: Any,
    component: str,
    *,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    file: Path,
    strength: float | None,
) -> nn.Module | str:
    """Return the name of the adapter added to a denoiser, or the denoiser's merged copy.

    Args:
        pipe: The reference's pipeline.
        component: Name of the denoiser in it.
        weights: The file's tensors.
        metadata: The file's metadata.
        file: Where the file lies, for its configuration and for messages.
        strength: What to multiply every layer's change by; None is 1.

    Raises:
        AnchorError: If the file cannot be applied exactly.
    """
    denoiser = getattr(pipe, component)
    layers = parse_keys(weights)
    require_sound(layers)
    layers = split_fused_layers(layers)
    names = match_layers(layers, denoiser)
    _refuse_text_encoder(names, format_name(layers))
    scales = read_scales(
        file, metadata, component=component, keys=weights, has_strength=strength is not None
    )
    if names.unknown:
        unknown = names.unknown
        converted = parse_keys(convert_by_diffusers(pipe, weights, unknown))
        names = match_layers(converted, denoiser)
        if names.unknown:
            raise AnchorError(
                f"layers that the denoiser does not have: {some(unknown)}: check that it was "
                "trained on this reference"
            )
        _refuse_text_encoder(names, format_name(layers))
        require_same_rows(
            [LayerChange(parts, scales.of(name, parts)) for name, parts in layers.items()],
            [LayerChange(parts, scales.of(name, parts)) for name, parts in converted.items()],
        )
        layers = converted
    return _apply(denoiser, _changes(layers, names, scales), strength=strength)


def _changes(
    layers: Mapping[str, LayerParts], names: LayerNames, scales: Scales
) -> dict[str, LayerChange]:
    """Return the changes by the denoiser's module."""
    return {
        module: LayerChange(layers[layer], scales.of(module, layers[layer]))
        for layer, module in names.modules.items()
    }


def _apply(
    denoiser: nn.Module, changes: Mapping[str, LayerChange], *, strength: float | None
) -> nn.Module | str:
    if strength is not None and strength != 1:
        if any("magnitude" in change.parts for change in changes.values()):
            raise AnchorError(
                "strength is set, but this is a DoRA, whose magnitudes hold only at strength 1: "
                "leave it out, and let λ do the mixing"
            )
        changes = {n: replace(c, scale=c.scale * strength) for n, c in changes.items()}
    if hasattr(denoiser, "add_adapter") and _is_plain(denoiser, changes):
        return add_adapter(denoiser, changes)
    return merged_copy(denoiser, changes)


def _is_plain(denoiser: nn.Module, changes: Mapping[str, LayerChange]) -> bool:
    """Return whether peft's LoRA layers can apply all changes."""
    return all(
        change.is_plain and isinstance(denoiser.get_submodule(name), nn.Linear | nn.Conv2d)
        for name, change in changes.items()
    )


def _refuse_text_encoder(names: LayerNames, kind: str) -> None:
    if names.text_encoder:
        raise AnchorError(
            f"this {kind} also changes a text encoder ({some(names.text_encoder)}), which an "
            "adapter of the denoiser cannot hold: give one trained on the denoiser alone, or merge "
            "it into a whole pipeline and give that folder"
        )
