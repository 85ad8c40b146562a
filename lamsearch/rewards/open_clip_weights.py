"""Load weights in open_clip's naming, as HPS publishes them, into transformers' `CLIPModel`.

Both are the same network. open_clip keeps query, key and value in one matrix and stores the two
projections transposed; otherwise only the names differ. So neither open_clip nor torchvision is
needed.
"""

import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamsearch.errors import RewardError, first_line
from lamsearch.rewards.checkpoint_files import read_checkpoint

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


def load_open_clip(path: Path, architecture: str | Path, *, device: str | torch.device) -> Any:
    """Load a single file of weights into a float32 `CLIPModel`.

    Names are open_clip's, or transformers' own.

    Args:
        path: The checkpoint.
        architecture: Path or hub id of a transformers CLIP of the same architecture, of which only
            the configuration is used. Its activation must be the checkpoint's: OpenAI's models have
            `quick_gelu`, LAION's have `gelu`.
        device: Where the model runs.

    Raises:
        RewardError: If the checkpoint cannot be read or does not fit the architecture.
    """
    from transformers import CLIPConfig, CLIPModel

    state = read_checkpoint(path)
    if not any(name.startswith(("text_model.", "vision_model.")) for name in state):
        state = to_transformers(state)
    try:
        config = CLIPConfig.from_pretrained(architecture, trust_remote_code=False)
        _check_activation(path, config)
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


def _check_activation(path: Path, config: Any) -> None:
    """Raise if open_clip's configuration beside the checkpoint names another activation.

    No weight tells the activation, so that a wrong one would change every score silently.
    """
    beside = path.parent / "open_clip_config.json"
    if not beside.is_file():
        return
    try:
        is_quick = bool(json.loads(beside.read_text(encoding="utf-8"))["model_cfg"]["quick_gelu"])
    except KeyError:  # open_clip's default
        is_quick = False
    except (TypeError, ValueError, RecursionError) as error:
        raise RewardError(f"cannot read {beside}: {first_line(error)}") from error
    expected = "quick_gelu" if is_quick else "gelu"
    for part in (config.text_config, config.vision_config):
        if part.hidden_act != expected:
            given = f"the activation of the architecture is {part.hidden_act}"
            raise RewardError(
                f"{given}, but {beside} says {expected}; choose another 'processor' for {path.name}"
            )


def text_cleaner() -> Callable[[str], str]:
    """Return open_clip's cleaning of texts: it repairs broken Unicode and decodes HTML entities.

    Raises:
        RewardError: If ftfy, of the extra `hps`, is not installed.
    """
    try:
        from ftfy import fix_text
    except ImportError as error:
        raise RewardError(
            "an open_clip checkpoint needs ftfy, of the extra hps: pip install 'lamsearch[hps]'"
        ) from error
    # Twice, as in open_clip: captions from the web are often escaped twice.
    return lambda text: html.unescape(html.unescape(fix_text(text))).strip()
