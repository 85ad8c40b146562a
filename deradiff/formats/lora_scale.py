"""The scale of each layer of a LoRA: alpha / rank, from wherever the file's trainer wrote it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from deradiff.formats.lora_changes import rank_of
from deradiff.options import AnchorError

# Initialisations that change the base weights, so that the LoRA alone does not say what they are.
_CHANGES_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_DIFFUSERS_METADATA = "lora_adapter_metadata"


class Scales:
    """The scales of a file's layers.

    Args:
        config: peft's configuration of the adapter, or None if the file has none, where the
            convention of kohya and diffusers applies: alpha / rank, or 1 without an alpha.

    Raises:
        AnchorError: If the configuration is of an adapter that cannot be applied exactly.
    """

    def __init__(self, config: Mapping[str, Any] | None) -> None:
        self._config = config
        if config is None:
            return
        kind = str(config.get("peft_type", "LORA")).upper()
        if kind not in ("LORA", "LOHA", "LOKR"):
            raise AnchorError(f"is a peft adapter of type {kind}, expected LORA, LOHA or LOKR")
        start = str(config.get("init_lora_weights", "")).lower()
        if start.startswith(_CHANGES_THE_BASE):
            raise AnchorError(
                f"was trained with init_lora_weights = {start!r}, which changes the base weights "
                "too: convert it to a plain LoRA with peft's `path_initial_model_for_weight_"
                "conversion`, or merge it into a whole denoiser"
            )
        if config.get("layer_replication"):
            raise AnchorError("replicates layers (layer_replication), which is not supported")

    def of(self, layer: str, parts: Mapping[str, Tensor]) -> float:
        """Return the scale of a layer; the tensor `alpha` of the file comes first."""
        scale = float(parts["scalar"]) if "scalar" in parts else 1.0
        rank = rank_of(parts)
        if rank is None:
            return scale
        if "alpha" in parts:
            return scale * float(parts["alpha"]) / rank
        return scale if self._config is None else scale * self._from_config(layer, rank)

    def _from_config(self, layer: str, rank: int) -> float:
        assert self._config is not None
        default = self._config.get("lora_alpha", self._config.get("alpha", rank))
        alpha = _pattern(self._config.get("alpha_pattern"), layer, default)
        expected = _pattern(self._config.get("rank_pattern"), layer, self._config.get("r", rank))
        if expected != rank:
            raise AnchorError(
                f"the layer {layer} has rank {rank}, but the adapter's configuration says "
                f"{expected}: it belongs to another file"
            )
        divisor = math.sqrt(rank) if self._config.get("use_rslora") else rank
        return float(alpha) / divisor


def read_scales(
    file: Path, metadata: Mapping[str, str], component: str, *, needs_config: bool
) -> Scales:
    """Return the scales of a LoRA file.

    Args:
        file: The file; peft writes its `adapter_config.json` beside it.
        metadata: The file's own metadata; diffusers writes the configuration there.
        component: Name of the denoiser in the pipeline.
        needs_config: Whether the file's keys are peft's, whose scale is only in a configuration.

    Raises:
        AnchorError: If the configuration is missing or cannot be applied exactly.
    """
    beside = file.parent / "adapter_config.json"
    if needs_config and beside.is_file():
        return Scales(json.loads(beside.read_text()))
    if _DIFFUSERS_METADATA in metadata:
        whole = json.loads(metadata[_DIFFUSERS_METADATA])
        prefix = f"{component}."
        config = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
        return Scales(config or whole)
    if needs_config:
        raise AnchorError(
            f"{file.name} has peft's keys, but no adapter_config.json lies beside it, and only "
            "that says by what to scale it: put it there, or set `strength` to lora_alpha / r"
        )
    return Scales(None)


def _pattern(patterns: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """Return the value of the first pattern that the layer's name ends with, as peft does."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return value
    return default
