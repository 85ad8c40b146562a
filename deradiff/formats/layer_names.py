"""Which module of a denoiser each layer of a LoRA file is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from deradiff.formats.ldm_names import ldm_names
from deradiff.options import AnchorError

_PREFIX = re.compile(
    r"(?:base_model\.model|unet|transformer(?:_2)?|model|diffusion_model|module|net|dit)\."
    r"|lora_(?:unet|transformer|prior_unet|diffusion_model)_|lycoris_(?:unet_)?"
)
_TEXT_ENCODER = re.compile(
    r"(?:base_model\.model\.)?(?:lora_te\d?_|lycoris_te|te\d?[._]|lora_clip|lora_prior_te|"
    r"text_encoders?|text_model|cond_stage_model|conditioner\.).*"
)


@dataclass(frozen=True)
class LayerNames:
    """The layers of a file by where they belong.

    Attributes:
        modules: Name of the denoiser's module by the layer's name in the file.
        text_encoder: Layers of text encoders.
        unknown: Layers that fit no module.
    """

    modules: dict[str, str]
    text_encoder: list[str]
    unknown: list[str]


def match_layers(layers: Iterable[str], denoiser: nn.Module) -> LayerNames:
    """Match the layers of a file with the modules of a denoiser.

    A layer is matched by its whole name, with dots or with underscores for dots, after prefixes
    that trainers add; in a UNet also by its name in the original format.

    Raises:
        AnchorError: If two layers of the file are the same module.
    """
    names = _known_names(denoiser)
    modules: dict[str, str] = {}
    text_encoder, unknown = [], []
    for layer in layers:
        if _TEXT_ENCODER.fullmatch(layer):
            text_encoder.append(layer)
        elif (module := _match(layer, names)) is None:
            unknown.append(layer)
        elif module in modules.values():
            raise AnchorError(f"changes the layer {module} twice, once as {layer}")
        else:
            modules[layer] = module
    return LayerNames(modules, text_encoder, unknown)


def _known_names(denoiser: nn.Module) -> dict[str, str]:
    """Return the names of modules with weights by every form in which files write them."""
    every = [name for name, _ in denoiser.named_modules() if name]
    dotted = {
        name: name
        for name in every
        if isinstance(getattr(denoiser.get_submodule(name), "weight", None), Tensor)
    }
    config = getattr(denoiser, "config", None)
    original = ldm_names(config, every)
    dotted |= {ldm: name for ldm, name in original.items() if name in dotted}
    known = dict(dotted)
    for written, name in dotted.items():
        flat = written.replace(".", "_")
        if known.setdefault(flat, name) != name:
            raise AnchorError(f"the denoiser has two layers that files call {flat}")
    return known


def _match(layer: str, names: dict[str, str]) -> str | None:
    rest = layer
    while True:
        plain = rest.replace(".processor.", ".")
        # The attention processors of early diffusers call the layer `to_out.0` `to_out`.
        early = (f"{plain}.0", f"{plain}_0") if plain.endswith("to_out") else ()
        for written in (rest, plain, *early):
            if written in names:
                return names[written]
        match = _PREFIX.match(rest)
        if match is None:
            return None
        rest = rest[match.end() :]
