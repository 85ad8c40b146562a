"""One set of weights between the models: (1 − λ)·θ_ref + λ·θ_aligned.

A sampler needs one forward pass per step with it instead of two. It is not the mixture p[β/λ],
whose model outputs are interpolated, not its weights; at λ = 0 and λ = 1 the two are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from deradiff.anchor import Anchor
from deradiff.denoisers import denoiser_names, is_denoiser
from deradiff.exports.plain_weights import aligned_weights, denoiser_with, plain_weights
from deradiff.options import AnchorError


def merged_components(anchor: Anchor, lam: float) -> dict[str, nn.Module]:
    """Return the components with interpolated weights, by their name in the pipeline.

    Args:
        anchor: The anchor; it stays as it is.
        lam: λ, which may lie outside of [0, 1].

    Raises:
        AnchorError: If a component has no weights, or other ones than the reference's.
    """
    return {
        name: _merged(name, anchor.pipe.components[name], aligned, lam)
        for name, aligned in aligned_components(anchor).items()
    }


def aligned_components(anchor: Anchor) -> dict[str, nn.Module | str]:
    """Return the components of the aligned pipeline that differ from the reference's, by name."""
    if isinstance(anchor.aligned, Mapping):
        return dict(anchor.aligned)
    return {denoiser_names(anchor.pipe)[0]: anchor.aligned}


def interpolated(reference: Tensor, aligned: Tensor, lam: float) -> Tensor:
    """Return (1 − λ)·reference + λ·aligned, computed in float64, in the reference's type."""
    if not reference.is_floating_point():
        return reference
    ours, theirs = (each.detach().to("cpu", torch.float64) for each in (reference, aligned))
    return ((1 - lam) * ours + lam * theirs).to(reference.device, reference.dtype)


def _merged(name: str, reference: nn.Module, aligned: nn.Module | str, lam: float) -> nn.Module:
    if not isinstance(reference, nn.Module):
        raise AnchorError(f"the aligned {name} differs and has no weights to interpolate")
    ours, theirs = plain_weights(reference), aligned_weights(reference, aligned)
    if {n: w.shape for n, w in ours.items()} != {n: w.shape for n, w in theirs.items()}:
        raise AnchorError(f"the weights of the {name} have other names or shapes when aligned")
    weights = {key: interpolated(ours[key], theirs[key], lam) for key in ours}
    if is_denoiser(reference):
        return denoiser_with(reference, weights)
    merged = copy.deepcopy(reference)
    merged.load_state_dict(weights)
    return merged
