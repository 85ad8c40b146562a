"""Which components of a pipeline are denoisers: asked of their signatures, not of their names."""

from __future__ import annotations

import inspect

from diffusers import DiffusionPipeline
from torch import nn


def denoiser_names(pipe: DiffusionPipeline) -> list[str]:
    """Return the names of the pipeline's denoisers, such as ["unet"], in the pipeline's order.

    A denoiser is a module whose forward pass takes a timestep. A ControlNet does too, but also a
    scale of its conditioning; it is part of the condition and is shared by all models.

    Raises:
        TypeError: If the pipeline has none.
    """
    names = [name for name, component in pipe.components.items() if is_denoiser(component)]
    if not names:
        raise TypeError(
            f"{type(pipe).__name__} has no unet, transformer or other denoiser to realign"
        )
    return names


def is_denoiser(component: object) -> bool:
    """Return whether this is a module that maps a sample and a timestep to a model output."""
    if not isinstance(component, nn.Module):
        return False
    names = inspect.signature(type(uncompiled(component)).forward).parameters
    return _timestep_name(component) is not None and "conditioning_scale" not in names


def timestep_place(denoiser: nn.Module) -> tuple[str, int]:
    """Return the name and the position of the timestep among the arguments of a denoiser's call.

    Raises:
        TypeError: If it takes none.
    """
    names = list(inspect.signature(type(uncompiled(denoiser)).forward).parameters)
    name = _timestep_name(denoiser)
    if name is None:
        raise TypeError(f"{type(denoiser).__name__} takes no timestep, so it is no denoiser")
    return name, names.index(name) - 1


def uncompiled(module: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` has wrapped, or the module itself."""
    original = getattr(module, "_orig_mod", module)
    return original if isinstance(original, nn.Module) else module


def has_block_cache(denoiser: nn.Module) -> bool:
    """Return whether a hook on the denoiser keeps results from one forward pass to the next."""
    # Asked at every step: where an attribute is missing, a module's own lookup is slow.
    registries = [vars(module).get("_diffusers_hook") for module in denoiser.modules()]
    return any(
        hook._is_stateful
        for registry in registries
        if registry is not None
        for hook in registry.hooks.values()
    )


def _timestep_name(module: nn.Module) -> str | None:
    names = inspect.signature(type(uncompiled(module)).forward).parameters
    return next((name for name in names if name == "t" or name.startswith("timestep")), None)
