"""The scale of each layer of a LoRA: alpha / rank, from wherever the file's trainer wrote it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from deradiff.formats.lora_changes import rank_of
from deradiff.formats.peft_config import require_supported
from deradiff.formats.weights import some
from deradiff.options import AnchorError

_DIFFUSERS_METADATA = "lora_adapter_metadata"
_ALPHAS = ("ss_network_alpha", "alpha")
_PEFT_DEFAULT = 8  # of `r` and of `lora_alpha`, which its configurations may leave out


class Scales:
    """The scales of a file's layers.

    Args:
        config: peft's configuration of the adapter, or None if the file has none, where the
            convention of kohya and diffusers applies: alpha / rank, or 1 without an alpha.
        alpha: The alpha of layers without one of their own, where there is no configuration.
    """

    def __init__(self, config: Mapping[str, Any] | None, alpha: float | None = None) -> None:
        self._config = config
        self._alpha = alpha

    def of(self, layer: str, parts: Mapping[str, Tensor]) -> float:
        """Return the scale of a layer; the tensor `alpha` of the file comes first.

        Raises:
            AnchorError: If the configuration belongs to another file, or the scale is no number.
        """
        try:
            scale = self._unchecked(layer, parts)
        except AnchorError:
            raise
        except (TypeError, ValueError, ZeroDivisionError, re.error) as error:
            raise AnchorError(f"its configuration gives no scale for {layer} ({error})") from error
        if not math.isfinite(scale):
            raise AnchorError(f"the scale of the layer {layer} is {scale}: correct its alpha")
        return scale

    def _unchecked(self, layer: str, parts: Mapping[str, Tensor]) -> float:
        scale = float(parts["scalar"]) if "scalar" in parts else 1.0
        rank = rank_of(parts)
        if rank is not None and "alpha" in parts:
            return scale * float(parts["alpha"]) / rank
        if self._config is not None and "diff" not in parts:
            return scale * self._from_config(self._config, layer, rank)
        return scale if rank is None or self._alpha is None else scale * self._alpha / rank

    @staticmethod
    def _from_config(config: Mapping[str, Any], layer: str, rank: int | None) -> float:
        default = config.get("lora_alpha", config.get("alpha", _PEFT_DEFAULT))
        alpha = _pattern(config.get("alpha_pattern"), layer, default)
        expected = _pattern(config.get("rank_pattern"), layer, config.get("r", _PEFT_DEFAULT))
        # LoKr's factors may be whole matrices, which peft scales by the configured rank too.
        if rank not in (None, expected):
            raise AnchorError(
                f"the layer {layer} has rank {rank}, but the adapter's configuration says "
                f"{expected}: it belongs to another file"
            )
        divisor = math.sqrt(expected) if config.get("use_rslora") else expected
        return float(alpha) / divisor


def read_scales(
    file: Path,
    metadata: Mapping[str, str],
    *,
    component: str,
    keys: Iterable[str],
    has_strength: bool,
) -> Scales:
    """Return the scales of a LoRA file.

    Looked at are, in this order, the file's tensors `alpha`, its own metadata, and the
    `adapter_config.json` beside it, if the file is peft's.

    Args:
        file: The file; peft writes its `adapter_config.json` beside it.
        metadata: The file's own metadata; diffusers and kohya's scripts write the scale there.
        component: Name of the denoiser in the pipeline.
        keys: The file's keys.
        has_strength: Whether the user states the scale that peft's keys leave open.

    Raises:
        AnchorError: If the configuration is missing or cannot be applied exactly.
    """
    names = list(keys)
    # Only peft writes `lora_A` without saying elsewhere in the file how to scale it.
    from_peft = any(name.startswith("base_model.model.") for name in names)
    if _DIFFUSERS_METADATA in metadata:
        whole = _json_object(metadata[_DIFFUSERS_METADATA], f"the {_DIFFUSERS_METADATA}")
        return _of_config(_own_config(whole, component), names)
    has_alphas = any(name.endswith("alpha") for name in names)
    if not has_alphas and (alpha := _alpha_of_metadata(metadata)) is not None:
        return Scales(None, alpha)
    beside = file.parent / "adapter_config.json"
    if (from_peft or file.stem == "adapter_model") and beside.is_file():
        return _of_config(
            _json_object(beside.read_text(), "the adapter_config.json beside it"), names
        )
    if from_peft and not has_strength:
        raise AnchorError(
            f"{file.name} has peft's keys, but no adapter_config.json lies beside it, and only "
            "that says by what to scale it: put it there, or set `strength` to lora_alpha / r"
        )
    return Scales(None)


def _of_config(config: Mapping[str, Any], keys: Iterable[str]) -> Scales:
    require_supported(config, keys)
    return Scales(config)


def _json_object(text: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise AnchorError(f"{name} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise AnchorError(f"{name} is no JSON object")
    return content


def _own_config(whole: Mapping[str, Any], component: str) -> Mapping[str, Any]:
    """Return the part for one denoiser of the configurations that diffusers writes."""
    # diffusers loads the file of a second denoiser with the prefix of the first.
    for prefix in (f"{component}.", f"{component.removesuffix('_2')}."):
        config = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
        if config:
            return config
    if "r" in whole or "lora_alpha" in whole:
        return whole
    raise AnchorError(
        f"its {_DIFFUSERS_METADATA} says nothing of the {component} ({some(whole)}), so that the "
        "scale is unknown: correct it, or merge the file into a whole denoiser"
    )


def _alpha_of_metadata(metadata: Mapping[str, str]) -> float | None:
    """Return the alpha that the metadata of trainers' scripts gives for every layer, or None."""
    stated = {metadata[name] for name in _ALPHAS if metadata.get(name, "None") != "None"}
    if not stated:
        return None
    try:
        (alpha,) = {float(each) for each in stated}
    except ValueError as error:
        raise AnchorError(
            f"its metadata gives no single number as alpha ({some(sorted(stated))}), and its "
            "layers have none of their own: correct it, or merge the file into a whole denoiser"
        ) from error
    if "conv_alpha" in metadata.get("ss_network_args", ""):
        raise AnchorError(
            "its metadata gives convolutions another alpha, and its layers have none of their "
            "own: merge the file into a whole denoiser"
        )
    return alpha


def _pattern(patterns: Mapping[str, Any] | None, layer: str, default: Any) -> Any:
    """Return the value of the first pattern that the layer's name ends with, as peft does."""
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", layer):
            return value
    return default
