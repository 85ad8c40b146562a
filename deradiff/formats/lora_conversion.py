"""LoRA files whose layers are named as in the original code of a model, converted by diffusers.

Such a conversion splits fused layers and reorders rows, so names cannot be compared. The rows of
all changes can: as a multiset they have to be the same before and after.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from deradiff.formats.lora_changes import LayerChange
from deradiff.formats.weights import some
from deradiff.options import AnchorError

_RELATIVE_TOLERANCE = 1e-3  # files in bfloat16, in which diffusers multiplies alpha / rank


def convert_by_diffusers(
    pipe: Any, weights: Mapping[str, Tensor], unknown: list[str]
) -> dict[str, Tensor]:
    """Return a LoRA's tensors under diffusers' own names.

    Args:
        pipe: The pipeline, whose class knows the original names of its denoiser.
        weights: The file's tensors.
        unknown: Layers of the file that fit no module, for the error message.

    Raises:
        AnchorError: If the pipeline's class cannot convert the file.
    """
    convert = getattr(type(pipe), "lora_state_dict", None)
    if convert is None:
        raise AnchorError(f"layers that the denoiser does not have: {some(unknown)}")
    extra: dict[str, Any] = {}
    if "return_alphas" in inspect.signature(convert).parameters:
        extra["return_alphas"] = True
    try:
        converted = convert(dict(weights), **extra)
    except (ValueError, KeyError, RuntimeError, AttributeError, IndexError) as error:
        raise AnchorError(
            f"layers that the denoiser does not have ({some(unknown)}), nor does diffusers know "
            "them: check that it was trained on this reference"
        ) from error
    state, alphas = converted[:2] if isinstance(converted, tuple) else (converted, None)
    numbers = {key: torch.as_tensor(float(value)) for key, value in (alphas or {}).items()}
    return {**state, **numbers}


def require_same_rows(file: Iterable[LayerChange], converted: Iterable[LayerChange]) -> None:
    """Raise AnchorError unless both sets of changes have the same rows, in any order.

    Rows are compared by their product with a fixed random vector, which is cheap: B (A v).
    """
    before, after = list(file), list(converted)
    plain = {"down", "up", "alpha"}
    if not all(set(change.parts) <= plain for change in (*before, *after)):
        raise AnchorError(
            "only plain LoRA is supported under the original names of a model's layers: convert "
            "the file to diffusers' names, or merge it into a whole denoiser"
        )
    widths = {change.parts["down"].flatten(1).shape[1] for change in (*before, *after)}
    generator = torch.Generator().manual_seed(0)
    vectors = {
        width: torch.randn(width, generator=generator, dtype=torch.float64) for width in widths
    }
    for width in widths:
        ours, theirs = (_sorted_rows(changes, vectors, width) for changes in (before, after))
        bound = _RELATIVE_TOLERANCE * float(ours.abs().max()) if len(ours) else 0.0
        if ours.shape != theirs.shape or float((ours - theirs).abs().max()) > bound:
            raise AnchorError(
                f"diffusers' conversion of this file changes what it does to layers of {width} "
                "inputs (a scale, or layers left out): merge it into a whole denoiser"
            )


def _sorted_rows(
    changes: Iterable[LayerChange], vectors: Mapping[int, Tensor], width: int
) -> Tensor:
    fitting = [c for c in changes if c.parts["down"].flatten(1).shape[1] == width]
    products = [change.row_products(vectors)[1] for change in fitting]
    rows = torch.cat(products) if products else torch.zeros(0, dtype=torch.float64)
    # A split of a fused layer may leave out a part whose change is zero.
    return rows[rows != 0].sort().values
