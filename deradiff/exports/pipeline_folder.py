"""A pipeline as a folder that diffusers loads, without the paths of the machine that wrote it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

WHOLE = "1000GB"
"""Size of a shard that holds any model: other programs read single files only."""

_PATH_KEYS = ("_name_or_path", "name_or_path")


def save_pipeline(pipe: Any, folder: Path, replaced: Mapping[str, Any]) -> None:
    """Write a pipeline's folder, with safetensors only.

    Args:
        pipe: The pipeline.
        folder: Where to write it.
        replaced: Components to write instead of the pipeline's own, by name.
    """
    for name, component in pipe.components.items():
        chosen = replaced.get(name, component)
        if chosen is not None:
            whole = {"max_shard_size": WHOLE} if isinstance(chosen, nn.Module) else {}
            chosen.save_pretrained(folder / name, **whole)
    pipe.save_config(folder)
    remove_paths(folder)


def remove_paths(folder: Path) -> None:
    """Take out of all configurations in a folder where their models came from."""
    for file in folder.rglob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(content, dict) and any(key in content for key in _PATH_KEYS):
            kept = {key: value for key, value in content.items() if key not in _PATH_KEYS}
            text = json.dumps(kept, indent=2, sort_keys=True, ensure_ascii=False)
            file.write_text(text + "\n", encoding="utf-8")


def size_of(modules: list[nn.Module]) -> int:
    """Return the number of bytes of the modules' weights."""
    return sum(w.numel() * w.element_size() for m in modules for w in m.state_dict().values())
