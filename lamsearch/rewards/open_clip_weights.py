"""Convert weights in open_clip's naming, as HPS publishes them, to transformers' `CLIPModel`.

Both are the same network. open_clip keeps query, key and value in one matrix and stores the two
projections transposed; otherwise only the names differ. So neither open_clip nor torchvision is
needed.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamsearch.errors import RewardError, first_line

_NAMES = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_PROJECTIONS = {"text_projection": "text_projection", "visual.proj": "visual_projection"}
_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)")


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of a plain ViT CLIP under transformers' names, with the same values.

    Args:
        state: State dict under open_clip's names.

    Raises:
        RewardError: If a weight does not belong to a plain ViT CLIP.
    """
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in _NAMES:
            renamed[_NAMES[name]] = tensor
        elif name in _PROJECTIONS:
            renamed[f"{_PROJECTIONS[name]}.weight"] = tensor.T.contiguous()
        elif block := _BLOCK.fullmatch(name):
            renamed |= _block_weights(block, tensor)
        elif name != "attn_mask":  # a constant, which old versions stored
            raise RewardError(f"weight '{name}' is not one of open_clip's plain ViT CLIP models")
    return renamed


def _block_weights(block: re.Match[str], tensor: Tensor) -> dict[str, Tensor]:
    """Return the renamed weights of one transformer block."""
    visual, layer, part, kind = block.groups()
    prefix = f"{'vision' if visual else 'text'}_model.encoder.layers.{layer}"
    if part == "attn.in_proj":
        thirds = zip("qkv", tensor.chunk(3), strict=True)
        return {f"{prefix}.self_attn.{x}_proj.{kind}": third for x, third in thirds}
    if part not in _IN_BLOCK:
        raise RewardError(f"weight '{block[0]}' is not one of open_clip's plain ViT CLIP models")
    return {f"{prefix}.{_IN_BLOCK[part]}.{kind}": tensor}


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
    except (OSError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        raise RewardError(f"cannot read the checkpoint {path}: {first_line(error)}") from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise RewardError(f"{path} holds no state dict, expected an open_clip checkpoint")
    return {name.removeprefix("module."): value for name, value in state.items()}


def load_open_clip(path: Path, architecture: str | Path, *, device: str | torch.device) -> Any:
    """Load an open_clip checkpoint into a float32 `CLIPModel`.

    Args:
        path: The checkpoint.
        architecture: Path or hub id of a transformers CLIP of the same architecture, of which only
            the configuration is used.
        device: Where the model runs.

    Raises:
        RewardError: If the checkpoint cannot be read or does not fit the architecture.
    """
    from transformers import CLIPConfig, CLIPModel

    state = to_transformers(read_checkpoint(path))
    try:
        config = CLIPConfig.from_pretrained(architecture)
        clip: Any = CLIPModel  # its annotation lacks output_loading_info
        # from_pretrained, unlike the constructor, does not first draw the weights at random.
        model, found = clip.from_pretrained(
            None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        problem = f"{path} does not fit the architecture of '{architecture}'"
        raise RewardError(f"{problem}: {first_line(error)}") from error
    if found["missing_keys"] or found["unexpected_keys"]:
        odd = sorted(found["missing_keys"]) + sorted(found["unexpected_keys"])
        problem = f"{path} does not fit the architecture of '{architecture}'"
        raise RewardError(f"{problem}: {len(odd)} weights differ, such as {odd[0]}")
    return model.to(device).eval().requires_grad_(False)
