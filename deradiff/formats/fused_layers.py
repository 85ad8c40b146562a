"""LoRA layers under the original names of SD3, whose attention layers are fused, split by rows.

diffusers does not convert these; names as in its `convert_sd3_transformer_checkpoint_to_diffusers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from deradiff.formats.lora_keys import LayerParts

_LAYER = re.compile(r"(.*?)joint_blocks[._](\d+)[._](x_block|context_block)[._](.+)")
_WITHIN = {
    ("x_block", "attn.qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("x_block", "attn.proj"): ("attn.to_out.0",),
    ("x_block", "attn2.qkv"): ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    ("x_block", "attn2.proj"): ("attn2.to_out.0",),
    ("x_block", "mlp.fc1"): ("ff.net.0.proj",),
    ("x_block", "mlp.fc2"): ("ff.net.2",),
    ("context_block", "attn.qkv"): ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    ("context_block", "attn.proj"): ("attn.to_add_out",),
    ("context_block", "mlp.fc1"): ("ff_context.net.0.proj",),
    ("context_block", "mlp.fc2"): ("ff_context.net.2",),
}
_PLAIN = {"down", "up", "alpha"}


def split_fused_layers(layers: Mapping[str, LayerParts]) -> dict[str, LayerParts]:
    """Return a file's layers with those of SD3's joint blocks under diffusers' names.

    The parts of a fused layer keep its A and its alpha, and share out the rows of its B. Layers
    that are not in the table, and those that are no plain LoRA, are returned as they are.
    """
    split: dict[str, LayerParts] = {}
    for name, parts in layers.items():
        match = _LAYER.fullmatch(name)
        inner = re.sub(r"[._](qkv|proj|fc1|fc2)$", r".\1", match[4]) if match else ""
        targets = _WITHIN.get((match[3], inner), ()) if match else ()
        if match is None or not targets or not set(parts) <= _PLAIN:
            split[name] = parts
            continue
        for target, rows in zip(targets, torch.chunk(parts["up"], len(targets)), strict=True):
            split[f"transformer_blocks.{match[2]}.{target}"] = {**parts, "up": rows}
    return split
