"""Single files of weights: where they are, and their tensors."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamsearch.errors import RewardError, first_line

_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError)
"""What torch raises, besides its own errors, on a file that is no checkpoint."""


def checkpoint_file(model: str | Path, checkpoint: str | None) -> Path | None:
    """Return the single file of weights to load, or None for a transformers folder or repository.

    Args:
        model: A file, a folder or a hub id.
        checkpoint: File name in the folder or repository.

    Raises:
        RewardError: If the file cannot be fetched from the hub.
    """
    if Path(model).is_file():
        return Path(model)
    if checkpoint is None:
        return None
    if Path(model).is_dir():
        return Path(model) / checkpoint
    return hub_file(str(model), checkpoint)


def hub_file(repository: str, name: str) -> Path:
    """Return a file of a hub repository, fetched unless it is in the cache.

    Raises:
        RewardError: If it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, name))
    except (OSError, ValueError) as error:
        problem = f"cannot fetch '{name}' of '{repository}'"
        raise RewardError(f"{problem}: {first_line(error)}") from error


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a `.safetensors` or torch file, without running pickled code.

    Raises:
        RewardError: If the file cannot be read, or does not hold a state dict.
    """
    from pickle import UnpicklingError

    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (*_UNREADABLE, UnpicklingError, SafetensorError) as error:
        raise RewardError(f"cannot read the checkpoint {path}: {first_line(error)}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise RewardError(f"{path} holds no state dict, expected an open_clip checkpoint")
    return {name.removeprefix("module."): value for name, value in state.items()}
