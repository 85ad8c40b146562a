"""A transformer in one file under its original names, as diffusers converts it, or refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor, nn

import tiny_pipelines
from deradiff import AnchorError, PipelineOptions
from deradiff.loading import load_aligned
from tiny_pipelines.image_transformers import SD3

from .files import save

# diffusers' names by those of the original format, where each is one tensor of the other.
_RENAMED = {
    r"pos_embed\.pos_embed": "pos_embed",
    r"pos_embed\.proj": "x_embedder.proj",
    r"time_text_embed\.timestep_embedder\.linear_1": "t_embedder.mlp.0",
    r"time_text_embed\.timestep_embedder\.linear_2": "t_embedder.mlp.2",
    r"time_text_embed\.text_embedder\.linear_1": "y_embedder.mlp.0",
    r"time_text_embed\.text_embedder\.linear_2": "y_embedder.mlp.2",
    r"transformer_blocks\.(\d+)\.attn\.to_out\.0": r"joint_blocks.\1.x_block.attn.proj",
    r"transformer_blocks\.(\d+)\.attn\.to_add_out": r"joint_blocks.\1.context_block.attn.proj",
    r"transformer_blocks\.(\d+)\.norm1\.linear": r"joint_blocks.\1.x_block.adaLN_modulation.1",
    r"transformer_blocks\.(\d+)\.norm1_context\.linear": (
        r"joint_blocks.\1.context_block.adaLN_modulation.1"
    ),
    r"transformer_blocks\.(\d+)\.ff\.net\.0\.proj": r"joint_blocks.\1.x_block.mlp.fc1",
    r"transformer_blocks\.(\d+)\.ff\.net\.2": r"joint_blocks.\1.x_block.mlp.fc2",
    r"transformer_blocks\.(\d+)\.ff_context\.net\.0\.proj": (
        r"joint_blocks.\1.context_block.mlp.fc1"
    ),
    r"transformer_blocks\.(\d+)\.ff_context\.net\.2": r"joint_blocks.\1.context_block.mlp.fc2",
    r"proj_out": "final_layer.linear",
    r"norm_out\.linear": "final_layer.adaLN_modulation.1",
}
_FUSED = {"x_block": "to_{}", "context_block": "add_{}_proj"}


def original(transformer: nn.Module) -> dict[str, Tensor]:
    """The weights of an SD3 transformer under the names of its original code."""
    state = transformer.state_dict()
    blocks = len(transformer.transformer_blocks)
    for number in range(blocks):
        for place, layer in _FUSED.items():
            for kind in ("weight", "bias"):
                names = [layer.format(letter) for letter in "qkv"]
                start = f"transformer_blocks.{number}.attn"
                parts = [state.pop(f"{start}.{name}.{kind}") for name in names]
                state[f"joint_blocks.{number}.{place}.attn.qkv.{kind}"] = torch.cat(parts)
    renamed = {}
    for key, weight in state.items():
        # The original code has the scale and the shift of a last norm in the other order.
        if key.startswith(("norm_out.", f"transformer_blocks.{blocks - 1}.norm1_context.")):
            weight = torch.cat(weight.chunk(2)[::-1])
        for ours, theirs in _RENAMED.items():
            key = re.sub(rf"^{ours}(?=\.(?:weight|bias)$|$)", theirs, key)
        renamed[key] = weight
    return renamed


@pytest.fixture
def sd3() -> StableDiffusion3Pipeline:
    return SD3.build(0)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_original_names_give_every_weight(
    tmp_path: Path, sd3: StableDiffusion3Pipeline, prefix: str
) -> None:
    expected = tiny_pipelines.perturb(sd3.transformer, seed=1)
    state = {prefix + key: weight for key, weight in original(expected).items()}
    file = save(state, tmp_path / "a.safetensors")
    found = load_aligned(sd3, file, options=PipelineOptions())
    assert isinstance(found, nn.Module)
    assert found.state_dict().keys() == expected.state_dict().keys()
    for key, weight in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], weight), key


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"joint_blocks.0.x_block.attn.qkv.extra": torch.ones(3)},
            r"1 weights fit no layer of the denoiser: joint_blocks\.0\.x_block\.attn\.qkv\.extra",
        ),
        (
            {"joint_blocks.0.x_block.attn.qkv.scale_weight": torch.ones(1)},
            r"is quantized with scales \(.*scale_weight\)",
        ),
        (
            {"text_encoders.clip_l.transformer.weight": torch.ones(3)},
            r"holds a text encoder that cannot be compared with the reference's",
        ),
    ],
)
def test_what_the_conversion_leaves_over_is_refused(
    tmp_path: Path, sd3: StableDiffusion3Pipeline, extra: dict[str, Tensor], message: str
) -> None:
    file = save({**original(sd3.transformer), **extra}, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match=rf"^aligned .*a\.safetensors: {message}"):
        load_aligned(sd3, file, options=PipelineOptions())


def test_a_block_too_many_and_a_weight_too_few(
    tmp_path: Path, sd3: StableDiffusion3Pipeline
) -> None:
    state = original(sd3.transformer)
    first = {k: w for k, w in state.items() if k.startswith("joint_blocks.0.")}
    more = {k.replace("joint_blocks.0.", "joint_blocks.2."): w for k, w in first.items()}
    less = {k: w for k, w in state.items() if k != "final_layer.linear.bias"}
    for name, given in (("more", state | more), ("less", less)):
        file = save(given, tmp_path / f"{name}.safetensors")
        with pytest.raises(AnchorError, match="is no checkpoint of a SD3Transformer2DModel"):
            load_aligned(sd3, file, options=PipelineOptions())


def test_a_file_of_something_else(tmp_path: Path) -> None:
    pipe = tiny_pipelines.flux()
    file = save({"double_blocks.0.img_attn.other": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match="is no checkpoint of a FluxTransformer2DModel"):
        load_aligned(pipe, file, options=PipelineOptions())
