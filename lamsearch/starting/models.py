"""Models found in a folder and in the hub's cache: pipelines, denoisers, LoRA files, scorers.

Configurations and headers are read, never weights.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DEPTH = 5
"""How far below a folder models are looked for."""

_SKIPPED = {"node_modules", "__pycache__", "site-packages", "lamsearch-studies", "venv"}
_DENOISERS = ("unet", "transformer")
_LARGEST_HEADER = 100_000_000
_LORA_KEY = re.compile(r"[._]lora[._]|hada_w|lokr_w")
_LANGUAGE_MODEL_KEY = re.compile(r"\.layers\.\d+\.(?:self_attn|mlp)\.")
_DENOISER_CLASS = re.compile(r"UNet[23]D\w*|\w+Transformer(?:[23]D)?Model")
_BETA = re.compile(
    r"(?<![a-z0-9])(?:beta|β|b)[-_=]?(?P<number>\d+(?:\.\d+)?)(?P<thousands>k?)(?![a-z0-9]|\.\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        location: Its path, or its hub id.
        kind: "pipeline", "denoiser", "lora" or "scorer".
        architecture: What tells denoisers apart that cannot be mixed: class and sizes; empty where
            that is not known.
    """

    location: str
    kind: str
    architecture: str = ""

    @property
    def beta(self) -> float | None:
        """β as the name says it, such as `beta200`, `b2000` or `beta-2k`."""
        parts = reversed(Path(self.location).parts[-2:])
        return next((found for part in parts if (found := beta_in(part)) is not None), None)


def beta_in(name: str) -> float | None:
    """Return β if a name holds it, once."""
    found = list(_BETA.finditer(name))
    if len(found) != 1:
        return None
    value = float(found[0]["number"]) * (1000 if found[0]["thousands"] else 1)
    return value if value > 0 else None


def find_models(folder: Path) -> Iterator[Model]:
    """Yield the models in a folder and below it, in the order of their paths.

    What cannot be read is no model.
    """
    top = len(folder.parts)
    for root, folders, files in os.walk(folder):
        here = Path(root)
        found = _folder_model(here, files)
        if found is not None:
            yield found
            folders.clear()  # its parts are no models of their own
            continue
        deep = len(here.parts) - top >= _DEPTH
        folders[:] = (
            [] if deep else sorted(f for f in folders if not (f[0] == "." or f in _SKIPPED))
        )
        for name in sorted(files):
            if name.endswith(".safetensors") and is_lora(here / name):
                yield Model(str(here / name), "lora")


def cached_models() -> Iterator[Model]:
    """Yield the models in the hub's cache, by their hub ids."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except (CacheNotFound, OSError):
        return
    for each in sorted(repositories, key=lambda repository: repository.repo_id):
        newest = max(each.revisions, key=lambda revision: revision.last_modified, default=None)
        if each.repo_type == "model" and newest is not None:
            place = newest.snapshot_path
            found = _folder_model(place, [entry.name for entry in place.iterdir()])
            if found is not None:
                yield Model(each.repo_id, found.kind, found.architecture)


def is_lora(file: Path) -> bool:
    """Return whether a safetensors file holds a LoRA or one of its relatives, by its header."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if length <= _LARGEST_HEADER else {}
    except (OSError, ValueError):
        return False
    if not isinstance(header, dict) or any(map(_LANGUAGE_MODEL_KEY.search, header)):
        return False
    return any(map(_LORA_KEY.search, header))


def _folder_model(folder: Path, files: list[str]) -> Model | None:
    place = str(folder)
    if "model_index.json" in files:
        return Model(place, "pipeline", _architecture_inside(folder))
    if "adapter_config.json" in files:
        weights = folder / "adapter_model.safetensors"
        return Model(place, "lora") if is_lora(weights) else None
    if any((folder / name / "config.json").is_file() for name in _DENOISERS):
        return Model(place, "denoiser", _architecture_inside(folder))
    config = _config(folder) if "config.json" in files else {}
    if _DENOISER_CLASS.fullmatch(str(config.get("_class_name"))):
        return Model(place, "denoiser", _architecture(config))
    if config.get("model_type") == "clip" and _has_processor(files):
        return Model(place, "scorer")
    return None


def _has_processor(files: list[str]) -> bool:
    return bool({"preprocessor_config.json", "processor_config.json"} & set(files))


def _architecture_inside(folder: Path) -> str:
    configs = (_config(folder / name) for name in _DENOISERS)
    return next((_architecture(config) for config in configs if config), "")


def _architecture(config: Mapping[str, Any]) -> str:
    keys = ("_class_name", "in_channels", "cross_attention_dim", "block_out_channels", "num_layers")
    return json.dumps([config.get(key) for key in keys])


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
