"""How much memory models take, read from the headers of their files; no weight is read."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from lamsearch.config.settings import AnchorSettings

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_LARGEST_HEADER = 100_000_000
"""What the format allows, in bytes."""

_VARIANT = re.compile(r"\.(fp16|bf16|fp8|non_ema)(?=[.-])")
_DENOISERS = ("unet", "transformer", "transformer_2")
_NO_MODEL = ("optimizer", "scheduler", "random_states", "scaler", "rng_state", "training_args")


def local_place(location: str) -> Path | None:
    """Return a local path, or the snapshot of a model in the hub's cache; None if not there."""
    path = Path(location).expanduser()
    if path.exists():
        return path
    try:
        return Path(snapshot_download(location, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None


def missing(settings: AnchorSettings) -> list[str]:
    """Return the hub ids of an anchor that are not in the cache."""
    return [name for name in _locations(settings) if local_place(name) is None]


def anchor_bytes(settings: AnchorSettings) -> int:
    """Return the memory of an anchor's weights in bytes: pipeline, aligned model and VAE."""
    sampling = settings.sampling
    size = BYTES[sampling.dtype]
    reference = local_place(settings.reference)
    total = 0 if reference is None else size * _pipeline_numbers(reference, settings.variant)
    for location in _aligned(settings):
        place = local_place(location)
        if place is not None:
            total += size * _aligned_numbers(place, settings.variant)
    return total


def file_numbers(file: Path) -> int:
    """Return the number of numbers in the tensors of a safetensors file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it has no valid header.
    """
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        if length > _LARGEST_HEADER:
            raise ValueError(f"{file}: is damaged: its header would have {length} bytes")
        header = json.loads(opened.read(length))
    tensors = (entry for key, entry in header.items() if key != "__metadata__")
    return sum(math.prod(entry["shape"]) for entry in tensors)


def _locations(settings: AnchorSettings) -> list[str]:
    vae = settings.sampling.vae
    return [settings.reference, *_aligned(settings), *([vae] if vae else [])]


def _aligned(settings: AnchorSettings) -> list[str]:
    given = settings.aligned
    return list(given.values()) if isinstance(given, Mapping) else [given]


def _pipeline_numbers(place: Path, variant: str | None) -> int:
    """Return the numbers of all components that a pipeline loads."""
    if place.is_file():
        return file_numbers(place)
    index = json.loads((place / "model_index.json").read_text(encoding="utf-8"))
    components = [name for name, entry in index.items() if isinstance(entry, list) and entry[0]]
    return sum(_folder_numbers(place / name, variant) for name in components)


def _aligned_numbers(place: Path, variant: str | None) -> int:
    """Return the numbers of a denoiser, a LoRA or one file."""
    if place.is_file():
        return file_numbers(place)
    inside = [place / name for name in _DENOISERS if (place / name / "config.json").is_file()]
    return sum(_folder_numbers(folder, variant) for folder in inside or [place])


def _folder_numbers(folder: Path, variant: str | None) -> int:
    files = [f for f in folder.glob("*.safetensors") if not f.name.startswith(_NO_MODEL)]
    return sum(map(file_numbers, _of_variant(files, variant)))


def _of_variant(files: Iterable[Path], variant: str | None) -> list[Path]:
    """Return the files of a variant, or where there are none the plain ones."""
    by_variant: dict[str | None, list[Path]] = {}
    for file in files:
        found = _VARIANT.search(file.name)
        by_variant.setdefault(found[1] if found else None, []).append(file)
    return by_variant.get(variant) or by_variant.get(None, [])
