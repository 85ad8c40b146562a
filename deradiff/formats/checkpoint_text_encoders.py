"""The text encoders in a whole checkpoint of one file, compared with the reference's."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from diffusers.loaders.single_file_utils import (
    SD_2_TEXT_ENCODER_KEYS_TO_IGNORE,
    convert_open_clip_checkpoint,
)
from torch import Tensor, nn

from deradiff.formats.weights import some
from deradiff.options import AnchorError

# Where checkpoints keep the encoder of transformers' format, and the one of open_clip's.
_CLIP = {
    "text_encoder": ("cond_stage_model.transformer.", "conditioner.embedders.0.transformer."),
}
_OPEN_CLIP = {
    "text_encoder": ("cond_stage_model.model.", "conditioner.embedders.0.model."),
    "text_encoder_2": ("conditioner.embedders.1.model.",),
}
# Tensors of the text encoder that are no weights of it.
_NO_WEIGHTS = ("position_ids", "logit_scale", "attn_mask")
_ROOTS = ("cond_stage_model.", "conditioner.", "text_encoder")


def differing_text_encoders(pipe: Any, weights: Mapping[str, Tensor]) -> dict[str, nn.Module]:
    """Return the text encoders of a checkpoint that are not the reference's, by component.

    Args:
        pipe: The reference's pipeline.
        weights: The checkpoint's tensors.

    Raises:
        AnchorError: If the checkpoint holds a text encoder that cannot be compared.
    """
    left = {key for key in weights if key.startswith(_ROOTS)}
    found = {}
    names = {*_CLIP, *_OPEN_CLIP} if left else set()
    for name in sorted(names):
        encoder = getattr(pipe, name, None)
        if not isinstance(encoder, nn.Module):
            continue
        for prefix, converted in _candidates(encoder, name, weights):
            left = {key for key in left if not key.startswith(prefix)}
            if (aligned := _differing(encoder, converted, name)) is not None:
                found[name] = aligned
    if left:
        raise AnchorError(
            f"holds a text encoder that cannot be compared with the reference's ({some(left)}): "
            "keep only the denoiser in the file, or convert it to a pipeline's folder"
        )
    return found


def _candidates(
    encoder: Any, name: str, weights: Mapping[str, Tensor]
) -> Iterable[tuple[str, dict[str, Tensor]]]:
    """Yield each prefix under which the checkpoint has this encoder, and its weights."""
    for prefix in _CLIP.get(name, ()):
        if any(key.startswith(prefix) for key in weights):
            yield prefix, {k.removeprefix(prefix): v for k, v in weights.items() if prefix in k}
    for prefix in _OPEN_CLIP.get(name, ()):
        if any(key.startswith(prefix) for key in weights):
            read = _Read(weights)
            converted = convert_open_clip_checkpoint(encoder, read, prefix=prefix)
            # The conversion takes the keys that it knows and is silent about any other.
            own = {k: w for k, w in weights.items() if k.startswith(prefix)}
            dropped = read.keys_read.union(SD_2_TEXT_ENCODER_KEYS_TO_IGNORE)
            yield prefix, {**converted, **{k: w for k, w in own.items() if k not in dropped}}


class _Read(dict[str, Tensor]):
    """Tensors of a checkpoint, and which of them someone has read."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__(weights)
        self.keys_read: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.keys_read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.keys_read.add(key)
        return super().get(key, default)


def _differing(encoder: nn.Module, weights: Mapping[str, Tensor], name: str) -> nn.Module | None:
    """Return a copy of the encoder with other weights, or None if they are the same."""
    ours = encoder.state_dict()
    theirs = {_own_key(key, ours): weight for key, weight in weights.items()}
    missing = sorted(ours.keys() - theirs.keys())
    if missing:
        raise AnchorError(f"weights of its {name} are missing: {some(missing)}")
    surplus = sorted(key for key in theirs.keys() - ours.keys() if not key.endswith(_NO_WEIGHTS))
    if surplus:
        raise AnchorError(f"{len(surplus)} weights fit no layer of its {name}: {some(surplus)}")
    for key, weight in ours.items():
        if theirs[key].shape != weight.shape:
            raise AnchorError(
                f"the weight {key} of its {name} has the shape {tuple(theirs[key].shape)}, "
                f"expected {tuple(weight.shape)}: convert the file to a pipeline's folder"
            )
    if all(torch.equal(theirs[key].to(weight), weight) for key, weight in ours.items()):
        return None
    other = copy.deepcopy(encoder)
    other.load_state_dict({key: theirs[key].to(weight) for key, weight in ours.items()})
    return other.eval().requires_grad_(False)


def _own_key(key: str, ours: Mapping[str, Tensor]) -> str:
    # Versions of transformers differ in whether the text model lies in a module of its own.
    short = key.removeprefix("text_model.")
    return next((each for each in (key, short, f"text_model.{key}") if each in ours), key)
