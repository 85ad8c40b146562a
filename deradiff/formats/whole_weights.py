"""Whole denoisers from the weights of a file or folder, with every key and shape checked first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import torch
from accelerate import init_empty_weights  # type: ignore[import-untyped]
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor, nn

from deradiff.formats.ldm_names import ldm_names
from deradiff.formats.weights import some
from deradiff.options import AnchorError

# What a whole checkpoint holds beside its denoiser.
_OTHER_PARTS = (
    *("first_stage_model.", "cond_stage_model.", "conditioner.", "vae.", "model_ema."),
    *("text_encoder", "denoiser.sigmas", "posterior_", "sqrt_", "log_one_minus"),
)
_OTHER_KEYS = {"betas", "alphas_cumprod", "alphas_cumprod_prev", "lvlb_weights", "logvar"}
# Scales of weights in eight bits, without which the weights themselves mean nothing.
_QUANTIZED = ("scaled_fp8", "scale_weight", "weight_scale", "scale_input", "input_scale")
MARKERS = {"v_pred", "ztsnr"}
"""Keys of a file without weights that say how it was trained."""


def denoiser_from_weights(
    reference: Any, weights: Mapping[str, Tensor], config: Mapping[str, Any] | None = None
) -> nn.Module:
    """Return a denoiser of the reference's class with these weights, in the reference's types.

    Args:
        reference: The reference's denoiser.
        weights: Tensors under diffusers' names or those of the original format, with any prefix,
            and possibly with the other parts of a whole checkpoint.
        config: The configuration; by default the reference's own.

    Raises:
        AnchorError: If a weight is missing, of another shape or left over.
    """
    with init_empty_weights(include_buffers=False):
        denoiser: nn.Module = type(reference).from_config(config or reference.config)
    state = denoiser.state_dict()
    own = _own_names(denoiser, weights, set(state))
    missing = sorted(set(state) - own.keys())
    if missing:
        raise AnchorError(
            f"{len(missing)} of {len(state)} weights are missing: {some(missing)}: save it again, "
            "or choose the reference it was aligned from"
        )
    types = reference.state_dict()
    fitted = {}
    for name, expected in state.items():
        given = _reshaped(own[name], expected.shape)
        if given.shape != expected.shape:
            raise AnchorError(
                f"the weight {name} has the shape {tuple(given.shape)}, expected "
                f"{tuple(expected.shape)}"
            )
        if not given.is_floating_point() and expected.is_floating_point():
            raise AnchorError(f"the weight {name} is quantized ({given.dtype}): dequantize it")
        dtype = types[name].dtype if name in types else reference.dtype
        # A copy: tensors mapped from a file are not aligned as kernels like them, which rounds
        # differently.
        fitted[name] = given.to(dtype, copy=True)
    denoiser.load_state_dict(fitted, assign=True)
    return denoiser


def _own_names(
    denoiser: nn.Module, weights: Mapping[str, Tensor], expected: set[str]
) -> dict[str, Tensor]:
    """Return the denoiser's weights under diffusers' names."""
    quantized = sorted(key for key in weights if key.endswith(_QUANTIZED))
    if quantized:
        raise AnchorError(f"is quantized with scales ({some(quantized)}): dequantize it")
    original = _original_names(denoiser, expected)
    candidates = []
    for names in ({name: name for name in expected}, original):
        prefix, found = _best_prefix(weights, set(names))
        candidates.append((len(found), prefix, names))
    count, prefix, names = max(candidates, key=lambda candidate: candidate[0])
    if 2 * count < len(expected):
        converted = _converted(denoiser, weights)
        prefix, names = ("", {n: n for n in expected}) if converted else (prefix, names)
        weights = converted or weights
        if not count and not converted:
            raise AnchorError(
                f"cannot be loaded: its tensors ({some(sorted(weights))}) are neither those of a "
                f"LoRA nor of a {type(denoiser).__name__}"
            )
    written = {prefix + name for name in names}
    left = [key for key in weights if key not in written and not _is_other_part(key)]
    if left:
        _refuse_surplus(left)
    return {own: weights[prefix + name] for name, own in names.items() if prefix + name in weights}


def _best_prefix(weights: Mapping[str, Tensor], names: set[str]) -> tuple[str, set[str]]:
    """Return the prefix under which most of the names are found, and those names."""
    by_prefix: dict[str, set[str]] = {}
    for key in weights:
        parts = key.split(".")
        for start in range(min(5, len(parts))):
            name = ".".join(parts[start:])
            if name in names:
                by_prefix.setdefault(key[: len(key) - len(name)], set()).add(name)
    if not by_prefix:
        return "", set()
    most = max(len(found) for found in by_prefix.values())
    best = sorted(prefix for prefix, found in by_prefix.items() if len(found) == most)
    if len(best) > 1 and most == len(names):
        raise AnchorError(f"holds several denoisers, with the prefixes {some(best)}: keep one")
    return best[0], by_prefix[best[0]]


def _original_names(denoiser: Any, expected: set[str]) -> dict[str, str]:
    """Return diffusers' names of the weights by their names in the original format of UNets."""
    modules = ldm_names(denoiser.config, [name for name, _ in denoiser.named_modules() if name])
    by_own = {own: ldm for ldm, own in modules.items()}
    names = {}
    for weight in expected:
        module, _, kind = weight.rpartition(".")
        if module in by_own:
            names[f"{by_own[module]}.{kind}"] = weight
    return names


def _converted(denoiser: Any, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights as diffusers converts a single file of this class; empty if it cannot."""
    known = SINGLE_FILE_LOADABLE_CLASSES.get(type(denoiser).__name__, {})
    convert = known.get("checkpoint_mapping_fn")
    if convert is None:
        return {}
    # Most conversions take out of this dictionary what they use, and forget the rest.
    rest = dict(weights)
    try:
        found: dict[str, Tensor] = convert(
            config=denoiser.config, checkpoint=rest, checkpoint_keys=list(weights)
        )
    except (KeyError, ValueError, RuntimeError, AttributeError, IndexError, TypeError) as error:
        raise AnchorError(
            f"is no checkpoint of a {type(denoiser).__name__} ({error}): convert it to diffusers' "
            "names"
        ) from error
    left = sorted(key for key in rest if not _is_other_part(key))
    own = (weight for key, weight in weights.items() if not _is_other_part(key))
    if left and _count(own) != _count(found.values()):
        _refuse_surplus(left)
    return found


def _refuse_surplus(left: Iterable[str]) -> NoReturn:
    names = sorted(left)
    raise AnchorError(
        f"{len(names)} weights fit no layer of the denoiser: {some(names)}: remove them if they "
        "belong to another part, or convert the file to a pipeline's folder"
    )


def _count(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() for weight in weights)


def _is_other_part(key: str) -> bool:
    return key in MARKERS or key in _OTHER_KEYS or key.startswith(_OTHER_PARTS)


def _reshaped(weight: Tensor, shape: torch.Size) -> Tensor:
    """Return a 1 × 1 convolution's weight as a linear layer's, or the reverse, if that fits."""
    if weight.shape != shape and _without_kernel(weight.shape) == _without_kernel(shape):
        return weight.reshape(shape)
    return weight


def _without_kernel(shape: torch.Size) -> tuple[int, ...]:
    return tuple(shape[:2]) if tuple(shape[2:]) == (1,) * len(shape[2:]) else tuple(shape)
