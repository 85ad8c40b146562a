"""Copies of a pipeline and of generators, for calls alongside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ConfigMixin, DiffusionPipeline
from torch import nn

from deradiff.mixing import InexactMixtureError


def lane_pipe(pipe: DiffusionPipeline, components: Mapping[str, Any]) -> DiffusionPipeline:
    """Return a shallow copy of a pipeline with other components.

    Its scheduler and its guider, which remember earlier steps, are its own.

    Raises:
        InexactMixtureError: If the scheduler has a step that cannot be copied.
    """
    if "step" in vars(pipe.scheduler):
        raise InexactMixtureError(
            "the scheduler's step has been replaced by other code, which a copy of the scheduler "
            "would not run: take it off"
        )
    lane = copy.copy(pipe)
    stateful = {name: copy.deepcopy(each) for name, each in stateful_components(pipe).items()}
    # Not by `setattr`, which would change the configuration that the copy shares.
    vars(lane).update({**stateful, **components})
    # Modules stay on their devices until the calls alongside have ended too.
    vars(lane)["maybe_free_model_hooks"] = lambda: None
    return lane


def stateful_components(pipe: DiffusionPipeline) -> dict[str, Any]:
    """Return the components that remember earlier steps of a call: the scheduler and a guider."""
    return {
        name: component
        for name, component in pipe.components.items()
        if isinstance(component, ConfigMixin) and not isinstance(component, nn.Module)
    }


def cloned_generators(given: Any) -> Any:
    """Return copies of a generator, or of a list of them, in the same state."""
    if isinstance(given, torch.Generator):
        clone = torch.Generator(device=given.device)
        clone.set_state(given.get_state())
        return clone
    if isinstance(given, list | tuple):
        return [cloned_generators(each) for each in given]
    return given
