"""What people attach to a denoiser, such as FreeU, IP-Adapter or a style LoRA, for two denoisers.

It is attached to the reference's denoiser only, by the pipeline's methods. The aligned model must
have it too: it is then dressed like the reference, in a copy that shares the aligned weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from deradiff.denoisers import uncompiled
from deradiff.mixing import InexactMixtureError

_BASE = ".base_layer"
"""In the names of weights of a layer that has a LoRA."""

_WRAPPERS = ("forward", "_old_forward", "_hf_hook", "_diffusers_hook")
"""Attributes of code that wraps a module's forward: offloading, casting, and we ourselves."""

_PLAIN = (bool, int, float, str, tuple, type(None))


def attachments(denoiser: nn.Module) -> dict[str, Any]:
    """Return what can be attached to a denoiser: classes, processors, settings and torch's hooks.

    By the name of the module.
    """
    return {
        name: (
            type(module),
            type(getattr(module, "processor", None)),
            _settings(module),
            # Those of the denoiser itself see the mixture.
            [*module._forward_pre_hooks.values(), *module._forward_hooks.values()] if name else [],
        )
        for name, module in uncompiled(denoiser).named_modules()
    }


def require_own_forwards(denoiser: nn.Module) -> None:
    """Raise InexactMixtureError if other code has replaced the forward pass of a module inside.

    Such code, as DeepCache, may keep what one model has computed and reuse it for another.
    """
    for name, module in uncompiled(denoiser).named_modules():
        known = ("_hf_hook", "_diffusers_hook")  # offloading and casting, which change no result
        if name and "forward" in vars(module) and not any(hook in vars(module) for hook in known):
            raise InexactMixtureError(
                f"other code has replaced the forward pass of {name} in the denoiser, which the "
                "aligned model would lack or share: take it off"
            )


def dressed_like(reference: nn.Module, aligned: nn.Module) -> nn.Module:
    """Return the aligned denoiser with everything that is attached to the reference.

    Args:
        reference: The reference's denoiser, with its attachments.
        aligned: A denoiser of the same architecture.

    Returns:
        `aligned` itself where there is nothing to attach; else a copy of the reference's modules
        with the aligned weights, which are shared and not copied.

    Raises:
        InexactMixtureError: If an attachment has changed the reference's weights themselves.
    """
    reference, bare = uncompiled(reference), uncompiled(aligned)
    if attachments(reference) == attachments(bare):
        return aligned
    if own := _own_settings(reference, bare):
        if _is_bare(reference):
            return aligned
        raise InexactMixtureError(
            f"the aligned denoiser's configuration has another {', '.join(own)} than the "
            "reference's, and what is attached to the reference cannot be attached to it: detach it"
        )
    _require_own_weights(reference)
    memo = _shared_weights(reference, bare)
    dressed = copy.deepcopy(reference, memo)
    for module in dressed.modules():
        for name in _WRAPPERS:
            vars(module).pop(name, None)
    return dressed.eval().requires_grad_(False)


def kept_processors(denoiser: nn.Module) -> Callable[[], None]:
    """Return a function that restores the attention processors that the denoiser has now.

    Pipelines that change them during a call, as for perturbed-attention guidance, restore what they
    found, which in calls alongside is what another call has set.
    """
    found = [(m, m.processor) for m in denoiser.modules() if hasattr(m, "processor")]

    def restore() -> None:
        for module, processor in found:
            if module.processor is not processor:
                module.processor = processor

    return restore


def _own_settings(reference: nn.Module, aligned: nn.Module) -> list[str]:
    """Return the configuration's settings that the aligned denoiser has for itself.

    What it has not at all, an IP-Adapter may have added to the reference's.
    """
    ours, theirs = (dict(getattr(each, "config", {})) for each in (reference, aligned))
    return [
        name
        for name, value in theirs.items()
        if not name.startswith("_") and value is not None and ours.get(name) != value
    ]


def _is_bare(denoiser: nn.Module) -> bool:
    """Return whether the denoiser is as its configuration makes it."""
    with torch.device("meta"):
        made = type(denoiser).from_config(denoiser.config)  # type: ignore[attr-defined]
    return attachments(denoiser) == attachments(made)


def _settings(module: nn.Module) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and name != "training" and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    """Return whether this is a setting, or settings by the name of an adapter, as LoRA's scales."""
    if isinstance(value, dict):
        return all(isinstance(each, _PLAIN) for each in value.values())
    return isinstance(value, _PLAIN)


def _shared_weights(reference: nn.Module, aligned: nn.Module) -> dict[int, Any]:
    """Return deepcopy's memo: the aligned weights in the place of the reference's."""
    own = dict(aligned.named_parameters()) | dict(aligned.named_buffers())
    memo: dict[int, Any] = {}
    for name, weight in (*reference.named_parameters(), *reference.named_buffers()):
        # The aligned model may have the same LoRA, or none.
        place = name if name in own else name.replace(_BASE, "")
        if (counterpart := own.pop(place, None)) is not None:
            _require_same_shape(name, weight, counterpart)
            memo[id(weight)] = counterpart
    if own:
        raise InexactMixtureError(
            f"what is attached to the reference's denoiser replaces {len(own)} of its weights, "
            f"such as {next(iter(own))}, which the aligned one then lacks: detach it"
        )
    for module in reference.modules():
        memo |= {id(vars(module)[name]): None for name in _WRAPPERS if name in vars(module)}
    return memo


def _require_same_shape(name: str, weight: Tensor, counterpart: Tensor) -> None:
    if weight.shape != counterpart.shape:
        raise InexactMixtureError(
            f"weight {name} has shape {tuple(weight.shape)} in the reference and "
            f"{tuple(counterpart.shape)} in the aligned model: use one of the same architecture"
        )


def _require_own_weights(reference: nn.Module) -> None:
    for name, module in reference.named_modules():
        if getattr(module, "merged", False) is True:
            raise InexactMixtureError(
                f"a LoRA is fused into the reference's denoiser ({name}) and not into the aligned "
                "one: call unfuse_lora()"
            )
        if getattr(module, "fused_projections", False) is True:
            raise InexactMixtureError(
                f"projections of the reference's denoiser are fused ({name}), those of the aligned "
                "one are not: call unfuse_qkv_projections(), or fuse both"
            )
