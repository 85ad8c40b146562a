"""The change that a LoRA file makes to one layer, in float64, independent of how it is loaded.

| symbol | role in the file | shape |
|---|---|---|
| B, A | up, down | (out, r), (r, in·k·k) |
| T | mid (Tucker) | (r, r, k, k) |
| s | alpha / r of the layer, times the strength | |
| m | magnitude (DoRA) | (out, 1) or (1, in) |

LoRA: ΔW = s B A. Tucker: ΔW = s B T A. LoHa: s (B₁ A₁) ∘ (B₂ A₂). LoKr: s W₁ ⊗ W₂.
DoRA: W' = m (W + s B A) / ‖W + s B A‖ (arXiv 2402.09353, Eq. 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from deradiff.options import AnchorError

_RANK_FROM = ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
_KINDS = (("down", "up", "mid"), "diff", "hada", "lokr")
_NEEDED = ("down", "up"), ("diff",), ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")


@dataclass(frozen=True)
class LayerChange:
    """The parts of a file for one layer.

    Attributes:
        parts: Tensors of the file by role, as `parse_keys` returns them.
        scale: s, which multiplies the change.
    """

    parts: Mapping[str, Tensor]
    scale: float

    @property
    def is_plain(self) -> bool:
        """Return whether peft's own LoRA layer can apply the change as it is."""
        return set(self.parts) <= {"down", "up", "alpha"} or self.has_output_magnitude

    @property
    def has_output_magnitude(self) -> bool:
        """Return whether the change is a DoRA with one magnitude per output."""
        magnitude = self.parts.get("magnitude")
        if magnitude is None or not set(self.parts) <= {"down", "up", "alpha", "magnitude"}:
            return False
        return magnitude.ndim == 1 or magnitude.shape[0] == magnitude.numel()

    def new_weight(self, weight: Tensor) -> Tensor:
        """Return the layer's changed weight in float64.

        Raises:
            AnchorError: If the change has another shape than the weight.
        """
        base = weight.detach().to("cpu", torch.float64)
        change = self.scale * self._unscaled()
        if change.numel() != base.numel() or change.shape[0] != base.shape[0]:
            raise AnchorError(
                f"the change has the shape {tuple(change.shape)}, the weight {tuple(base.shape)}"
            )
        changed = base + change.reshape(base.shape)
        magnitude = self.parts.get("magnitude")
        return changed if magnitude is None else _renormalised(changed, magnitude.double())

    def row_products(self, vectors: Mapping[int, Tensor]) -> tuple[int, Tensor]:
        """Return the width of the change, and its product with the vector of that width."""
        down = _two_dimensional(self.parts["down"])
        width = down.shape[1]
        up = _two_dimensional(self.parts["up"])
        return width, self.scale * (up @ (down @ vectors[width]))

    def _unscaled(self) -> Tensor:
        parts = {role: part.to("cpu", torch.float64) for role, part in self.parts.items()}
        if "diff" in parts:
            return parts["diff"]
        if "hada_w1_a" in parts:
            return _hadamard_half(parts, 1) * _hadamard_half(parts, 2)
        if any(role.startswith("lokr") for role in parts):
            return _kronecker(parts)
        if "mid" in parts:
            up, down = _two_dimensional(parts["up"]), _two_dimensional(parts["down"])
            return torch.einsum("or,rskl,si->oikl", up, parts["mid"], down)
        return _two_dimensional(parts["up"]) @ _two_dimensional(parts["down"])


def rank_of(parts: Mapping[str, Tensor]) -> int | None:
    """Return the rank of a layer's factors, or None if they are whole matrices."""
    for role in _RANK_FROM:
        if role in parts:
            return parts[role].shape[0]
    return None


def is_complete(parts: Mapping[str, Tensor]) -> bool:
    """Return whether the factors of a layer are all there."""
    if any(role.startswith("lokr") for role in parts):
        return all(
            f"lokr_w{n}" in parts or {f"lokr_w{n}_a", f"lokr_w{n}_b"} <= parts.keys()
            for n in (1, 2)
        )
    return any(set(needed) <= parts.keys() for needed in _NEEDED)


def count_changes(parts: Mapping[str, Tensor]) -> int:
    """Return the number of separate changes that the parts of a layer make up."""
    return sum(any(role.startswith(kind) for role in parts) for kind in _KINDS)


def _two_dimensional(factor: Tensor) -> Tensor:
    return factor.to("cpu", torch.float64).flatten(1)


def _hadamard_half(parts: Mapping[str, Tensor], number: int) -> Tensor:
    left, right = parts[f"hada_w{number}_a"], parts[f"hada_w{number}_b"]
    core = parts.get(f"hada_t{number}")
    return left @ right if core is None else _tucker(core, left, right)


def _kronecker(parts: Mapping[str, Tensor]) -> Tensor:
    first = parts.get("lokr_w1")
    if first is None:
        first = parts["lokr_w1_a"] @ parts["lokr_w1_b"]
    second = parts.get("lokr_w2")
    if second is None:
        left, right, core = parts["lokr_w2_a"], parts["lokr_w2_b"], parts.get("lokr_t2")
        second = left @ right if core is None else _tucker(core, left, right)
    product: Tensor = torch.kron(first.reshape(*first.shape, *(1,) * (second.ndim - 2)), second)
    return product


def _tucker(core: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Return the kernel of LyCORIS' factors: core (i, j, k, l), left (i, out), right (j, in)."""
    kernel: Tensor = torch.einsum("ijkl,jr,ip->prkl", core, right, left)
    return kernel


def _renormalised(weight: Tensor, magnitude: Tensor) -> Tensor:
    """Return the weight with norms `magnitude`, one per output (out, 1) or per input (1, in)."""
    kept = 1 if magnitude.ndim > 1 and magnitude.shape[0] == 1 != magnitude.shape[1] else 0
    if magnitude.numel() != weight.shape[kept]:
        raise AnchorError(
            f"the magnitude has {magnitude.numel()} values, the weight {tuple(weight.shape)}"
        )
    other = [dim for dim in range(weight.ndim) if dim != kept]
    norm: Tensor = torch.linalg.vector_norm(weight, dim=other, keepdim=True)
    shape = [-1 if dim == kept else 1 for dim in range(weight.ndim)]
    return weight * (magnitude.reshape(shape) / norm)
