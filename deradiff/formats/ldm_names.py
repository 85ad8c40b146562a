"""Names of a UNet's layers in the original (LDM, SGM, A1111) format, from diffusers' names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "class_embedding.linear_1": "label_emb.0.0",
    "class_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_IN_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_BLOCK = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.(\w+)\.(\d+)\.?(.*)")
_MIDDLE = re.compile(r"mid_block\.(resnets|attentions)\.(\d+)\.?(.*)")


def ldm_names(config: Any, modules: Iterable[str]) -> dict[str, str]:
    """Return diffusers' names of modules by their names in the original format.

    Args:
        config: The UNet's configuration.
        modules: diffusers' names of its modules; those without a counterpart are left out.
    """
    named = set(modules)
    if "conv_in" not in named or not any(name.startswith("down_blocks.") for name in named):
        return {}  # not a UNet
    if not isinstance(config.layers_per_block, int):
        return {}  # the original format has the same number of layers in every block
    found = {}
    for name in named:
        if (ldm := _ldm_name(name, config.layers_per_block, named)) is not None:
            found[ldm] = name
    return found


def _ldm_name(name: str, layers: int, named: set[str]) -> str | None:
    if name in _TOP:
        return _TOP[name]
    if match := _MIDDLE.fullmatch(name):
        kind, index, rest = match[1], int(match[2]), match[3]
        place = "middle_block.1" if kind == "attentions" else f"middle_block.{2 * index}"
        return _joined(place, _inside(kind, rest))
    match = _BLOCK.fullmatch(name)
    if match is None:
        return None
    side, block, kind, index, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
    if side == "down_blocks":
        first = 1 + block * (layers + 1)
        if kind == "downsamplers":
            return f"input_blocks.{first + layers}.0.op" if rest == "conv" else None
        return _joined(f"input_blocks.{first + index}.{_position(kind)}", _inside(kind, rest))
    first = block * (layers + 1)
    if kind == "upsamplers":
        has_attention = f"up_blocks.{block}.attentions.0" in named
        place = f"output_blocks.{first + layers}.{2 if has_attention else 1}.conv"
        return place if rest == "conv" else None
    return _joined(f"output_blocks.{first + index}.{_position(kind)}", _inside(kind, rest))


def _position(kind: str) -> int:
    return 1 if kind == "attentions" else 0


def _inside(kind: str, rest: str) -> str:
    return _IN_RESNET.get(rest, rest) if kind == "resnets" else rest


def _joined(place: str, rest: str) -> str:
    return f"{place}.{rest}" if rest else place
