"""Read the tensors and the metadata of weight files, and choose which files of a folder to read."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deradiff.options import AnchorError

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
SAFE = ".safetensors"
_SHARD = re.compile(r"-(\d+)-of-(\d+)(?=\.)")
# Wrappers of torch that leave their name in the middle of a key.
_WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
# Files of a trainer's folder that hold no model.
_NO_MODEL = ("optimizer", "scheduler", "random_states", "training_args", "scaler", "rng_state")


def read_weights(path: Path, *, use_safetensors: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a file by key, and its metadata, which only safetensors files have.

    Args:
        path: A `.safetensors` file or a pickled one.
        use_safetensors: Whether to refuse pickled weights.

    Raises:
        AnchorError: If the file is pickled although that is refused, or does not hold tensors.
    """
    if path.suffix.lower() == SAFE:
        try:
            with safe_open(path, framework="pt") as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
        except SafetensorError as error:
            raise AnchorError(
                f"{path.name} is damaged or cut off ({error}): copy or download it again"
            ) from error
        if not weights:
            raise AnchorError(f"{path.name} holds no tensors: save it again")
        return _unwrapped(weights), metadata
    if path.suffix.lower() not in PICKLES:
        raise AnchorError(
            f"{path.name} is no file of weights that can be read: expected {SAFE}, or with "
            f"use_safetensors = false one of {', '.join(PICKLES)}"
        )
    if use_safetensors:
        raise AnchorError(
            f"{path.name} is pickled and may run any code: convert it to .safetensors, or set "
            "use_safetensors = false if you trust it"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (struct.error, EOFError) as error:
        raise AnchorError(
            f"{path.name} is damaged or cut off ({error}): copy or download it again"
        ) from error
    for outer in ("state_dict", "module", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(outer), Mapping):
            content = content[outer]
    if not isinstance(content, Mapping):
        raise AnchorError(f"{path.name} holds a {type(content).__name__}, expected tensors by name")
    if not (weights := dict(_tensors(content))):
        raise AnchorError(
            f"{path.name} holds no tensors by name, only {some(map(str, content)) or 'nothing'}: "
            "save the denoiser's state dict alone"
        )
    return _unwrapped(weights), {}


def read_shards(
    folder: Path, names: Sequence[str], *, use_safetensors: bool
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of several files as one dictionary, and their metadata as another."""
    weights: dict[str, Tensor] = {}
    metadata: dict[str, str] = {}
    for name in names:
        more, said = read_weights(folder / name, use_safetensors=use_safetensors)
        if twice := weights.keys() & more.keys():
            raise AnchorError(f"several of its files hold the weights {some(sorted(twice))}")
        weights |= more
        metadata |= said
    return weights, metadata


def component_files(
    names: Sequence[str], *, variant: str | None, use_safetensors: bool
) -> tuple[list[str], str | None]:
    """Return the weight files of a component's folder, and the variant that they are.

    The requested variant is used where there is one, else the files without a variant, which hold
    the same weights in another precision; and where none is requested, the only one there is.

    Args:
        names: Names of the files directly in the folder.
        variant: Variant asked for, such as "fp16".
        use_safetensors: Whether to refuse pickled weights.

    Raises:
        AnchorError: If there are no such weight files.
    """
    suffixes = [SAFE] if use_safetensors else [SAFE, *PICKLES]
    variants = sorted({v for n in names if n.lower().endswith(SAFE) and (v := _variant(n))})
    only = variants if variant is None and len(variants) == 1 else []
    for wanted in dict.fromkeys((variant, None, *only)):
        for suffix in suffixes:
            found = [n for n in names if n.lower().endswith(suffix) and _variant(n) == wanted]
            found = [n for n in found if not n.startswith(_NO_MODEL)]
            shards = [n for n in found if "-of-" in n]
            if chosen := shards or found:
                return _require_one(chosen), wanted
    _refuse_pickles_only(names)
    shown = f"only the variants {', '.join(variants)}: set `variant` to one" if variants else "none"
    raise AnchorError(f"expected a .safetensors file of weights, found {shown}")


def model_files(names: Sequence[str], *, use_safetensors: bool) -> list[str]:
    """Return the files of a folder that may hold a LoRA or a whole denoiser."""
    suffixes = (SAFE,) if use_safetensors else (SAFE, *PICKLES)
    found = [n for n in names if n.lower().endswith(suffixes) and not n.startswith(_NO_MODEL)]
    safe = [n for n in found if n.lower().endswith(SAFE)]
    if not found:
        _refuse_pickles_only(names)
    return safe or found


def one_model(folder: Path, names: Sequence[str], files: Sequence[str]) -> list[str]:
    """Return those of a component's weight files that make up one model.

    Folders may still hold shards of an earlier save: the index says which belong together, and
    without one there has to be exactly one complete set.

    Args:
        folder: The component's folder, in which its indices lie.
        names: Names of all files directly in it.
        files: What `component_files` returns.

    Raises:
        AnchorError: If shards are missing, or it is unclear which ones belong together.
    """
    if not all(_SHARD.search(name) for name in files):
        return list(files)
    indices = [_shards(folder / n) for n in names if ".index." in n and n.endswith(".json")]
    found = [shards for shards in indices if shards & set(files)]
    if len(found) > 1:
        raise AnchorError(f"several indices name its shards ({some(files)}): keep one of them")
    if not found:
        return _one_set(files)
    if missing := sorted(found[0] - set(names)):
        raise AnchorError(
            f"cannot be loaded: files that its index names are missing: {some(missing)}"
        )
    return sorted(found[0])


def is_shard(name: str) -> bool:
    """Return whether a file holds one of several parts of a model, by its name."""
    match = _SHARD.search(name)
    return match is not None and int(match[2]) > 1


def some(names: Iterable[str], limit: int = 3) -> str:
    """Return the first few of several names and their number, for an error message."""
    all_names = list(names)
    text = ", ".join(all_names[:limit])
    return text if len(all_names) <= limit else f"{text}, … ({len(all_names)} in all)"


def _shards(index: Path) -> set[str]:
    """Return the files that an index names."""
    try:
        shards = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise AnchorError(f"its index {index.name} cannot be read: restore it") from error
    if outside := sorted(name for name in shards if Path(name).name != name):
        raise AnchorError(f"its index {index.name} names files elsewhere: {some(outside)}")
    return shards


def _one_set(files: Sequence[str]) -> list[str]:
    """Return the shards if their names are those of one complete set, numbered from 1."""
    matches = [match for name in files if (match := _SHARD.search(name))]
    totals = {(match.string[: match.start()], int(match[2])) for match in matches}
    numbers = sorted(int(match[1]) for match in matches)
    if len(totals) != 1 or numbers != list(range(1, max(total for _, total in totals) + 1)):
        raise AnchorError(
            f"its shards ({some(files)}) are not one complete set, and no index says which belong "
            "together: remove those of other saves, or restore the index"
        )
    return list(files)


def _variant(name: str) -> str | None:
    """Return the variant in a file's name: "fp16" for `model.fp16-00001-of-00002.safetensors`."""
    stem = Path(name).stem.split("-0")[0]
    return stem.rsplit(".", 1)[1] if "." in stem else None


def _require_one(names: Sequence[str]) -> list[str]:
    if len(names) > 1 and not all("-of-" in name for name in names):
        raise AnchorError(f"several files of weights ({some(names)}): set `file` to one of them")
    return list(names)


def _refuse_pickles_only(names: Sequence[str]) -> None:
    pickles = [n for n in names if n.lower().endswith(PICKLES) and not n.startswith(_NO_MODEL)]
    if pickles:
        raise AnchorError(
            f"cannot be loaded: {pickles[0]} is pickled and may run any code: convert it to "
            ".safetensors, or set use_safetensors = false if you trust it"
        )


def _tensors(content: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a pickled file, and the alphas of a LoRA, which may be plain numbers."""
    for key, value in content.items():
        if isinstance(value, Tensor) and isinstance(key, str):
            yield key, value
        elif isinstance(value, int | float) and str(key).endswith("alpha"):
            yield key, torch.tensor(float(value))


def _unwrapped(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under their own names, without those that wrappers of torch add."""
    plain: dict[str, Tensor] = {}
    for key, weight in weights.items():
        for wrapper in _WRAPPERS:
            key = key.replace(wrapper, "")
        if key in plain:
            raise AnchorError(f"holds {key} twice, with and without a wrapper's name: keep one")
        plain[key] = weight
    return plain
