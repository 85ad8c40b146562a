"""A copy of a denoiser with the changes of a file merged into its weights in float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import nn

from deradiff.formats.lora_changes import LayerChange
from deradiff.options import AnchorError


def merged_copy(module: nn.Module, changes: Mapping[str, LayerChange]) -> nn.Module:
    """Return a copy of a module whose weights have the changes, rounded to their own type.

    Raises:
        AnchorError: If a change does not fit its layer.
    """
    merged = copy.deepcopy(module)
    for name, change in changes.items():
        weight = merged.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        with torch.no_grad():
            try:
                weight.copy_(change.new_weight(weight))
            except AnchorError as error:
                raise AnchorError(f"the layer {name} does not fit: {error}") from error
            except (RuntimeError, ValueError, LookupError) as error:
                raise AnchorError(
                    f"the factors of the layer {name} do not fit each other"
                ) from error
    return merged
