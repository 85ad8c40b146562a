"""Whether the tensors of a LoRA file make whole, finite changes, before anything is applied."""

from __future__ import annotations

from collections.abc import Mapping

from deradiff.formats.lora_changes import count_changes, is_complete, rank_of
from deradiff.formats.lora_keys import LayerParts
from deradiff.formats.weights import some
from deradiff.options import AnchorError

_NUMBERS = ("alpha", "scalar")


def require_sound(layers: Mapping[str, LayerParts]) -> None:
    """Raise AnchorError if a layer's tensors are incomplete, ambiguous, quantized or not finite."""
    if incomplete := [layer for layer, parts in layers.items() if not is_complete(parts)]:
        raise AnchorError(f"layers of which a factor is missing: {some(incomplete)}")
    if mixed := [layer for layer, parts in layers.items() if count_changes(parts) > 1]:
        raise AnchorError(
            f"layers that it changes in several ways at once: {some(mixed)}: merge the file into a "
            "whole denoiser and give that folder"
        )
    tensors = {
        f"{role} of {layer}": part
        for layer, parts in layers.items()
        for role, part in parts.items()
    }
    for name, tensor in tensors.items():
        is_number = name.startswith(_NUMBERS)
        if not is_number and not tensor.is_floating_point():
            raise AnchorError(
                f"is quantized: the {name} is of {tensor.dtype}, and nothing says by what to scale "
                "it: dequantize it"
            )
        if is_number and tensor.numel() != 1:
            raise AnchorError(f"the {name} has the shape {tuple(tensor.shape)}, expected a number")
    if broken := [name for name, tensor in tensors.items() if not tensor.double().isfinite().all()]:
        raise AnchorError(f"holds NaN or infinity in the {some(broken)}: it did not train soundly")
    if empty := [layer for layer, parts in layers.items() if rank_of(parts) == 0]:
        raise AnchorError(f"layers with factors of rank 0: {some(empty)}")
    _require_every_magnitude(layers)


def _require_every_magnitude(layers: Mapping[str, LayerParts]) -> None:
    """Raise AnchorError if some layers of a DoRA have no magnitude: it may be lost."""
    without = [layer for layer, parts in layers.items() if "magnitude" not in parts]
    if without and len(without) < len(layers):
        raise AnchorError(
            f"is a DoRA, but {len(without)} of its {len(layers)} layers have no magnitude "
            f"({some(without)}): save it again with all of them, or merge it into a whole denoiser"
        )
