"""Files that are damaged, of another format or part of something are refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

import tiny_pipelines
from deradiff import AnchorError

from .files import load, output, save

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n"


@pytest.fixture
def aligned(sd15: StableDiffusionPipeline) -> nn.Module:
    return tiny_pipelines.perturb(sd15.unet, seed=1)


def test_a_file_cut_off(tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module) -> None:
    whole = save(aligned.state_dict(), tmp_path / "whole.safetensors").read_bytes()
    for number, content in enumerate((b"", whole[:4], whole[: len(whole) // 2], POINTER)):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(content)
        with pytest.raises(AnchorError, match=rf"{number}\.safetensors is damaged or cut off"):
            load(sd15, file)
    for content in (b"", b"PK\x03\x04", b"GGUF123"):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(AnchorError, match=r"^aligned .*a\.pt: "):
            load(sd15, tmp_path / "a.pt", use_safetensors=False)


@pytest.mark.parametrize("suffix", ["gguf", "npz", "txt"])
def test_other_formats(tmp_path: Path, sd15: StableDiffusionPipeline, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    file.write_bytes(b"GGUF")
    for safe in (True, False):
        for location, options in ((file, {}), (tmp_path, {"file": file.name})):
            with pytest.raises(AnchorError, match=rf"a\.{suffix} is no file of weights that can"):
                load(sd15, location, use_safetensors=safe, **options)


@pytest.mark.parametrize("suffix", ["pt", "ckpt", "bin", "pth", "CKPT"])
def test_pickles_are_refused_whatever_they_are_called(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, suffix: str
) -> None:
    file = tmp_path / f"a.{suffix}"
    torch.save({"state_dict": aligned.state_dict(), "epoch": 3}, file)
    for location, options in ((file, {}), (tmp_path, {}), (tmp_path, {"file": file.name})):
        with pytest.raises(AnchorError, match=rf"a\.{suffix} is pickled and may run any code"):
            load(sd15, location, **options)
    for location in (file, tmp_path):
        assert torch.equal(output(load(sd15, location, use_safetensors=False)), output(aligned))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, expected tensors by name"),
        ({}, "holds no tensors by name, only nothing"),
        ({"unet": {"weight": torch.ones(2)}}, "holds no tensors by name, only unet: save the"),
        ({1: torch.ones(2), "alpha": "x"}, "holds no tensors by name, only 1, alpha"),
    ],
)
def test_pickles_without_tensors_by_name(
    tmp_path: Path, sd15: StableDiffusionPipeline, content: object, message: str
) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(AnchorError, match=message):
        load(sd15, tmp_path / "a.pt", use_safetensors=False)


def test_a_file_without_tensors(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    with pytest.raises(AnchorError, match=r"a\.safetensors holds no tensors"):
        load(sd15, save({}, tmp_path / "a.safetensors"))


def test_one_of_several_shards(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    aligned.save_pretrained(tmp_path, max_shard_size="50KB")
    shard = min(tmp_path.glob("*-of-*"))
    for location, options in ((shard, {}), (tmp_path, {"file": shard.name})):
        with pytest.raises(AnchorError, match="is one of several shards: give the folder"):
            load(sd15, location, **options)
    (tmp_path / "config.json").unlink()
    with pytest.raises(AnchorError, match=r"has shards .* but no config\.json"):
        load(sd15, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "cannot be read: restore it"),
        ("[", "cannot be read: restore it"),
        ('{"weight_map": {"a": "../b.safetensors"}}', r"names files elsewhere: \.\./b\.safet"),
    ],
)
def test_an_index_that_cannot_be_followed(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, text: str, message: str
) -> None:
    aligned.save_pretrained(tmp_path, max_shard_size="50KB")
    next(tmp_path.glob("*.index.json")).write_text(text)
    with pytest.raises(AnchorError, match=message):
        load(sd15, tmp_path)


def test_a_folder_with_only_half_of_a_model(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config" / "unet").mkdir(parents=True)
    aligned.save_config(tmp_path / "config" / "unet")
    save(aligned.state_dict(), tmp_path / "weights" / "unet" / "a.safetensors")
    for folder, message in (
        ("empty", "found nothing"),
        ("config", r"expected a \.safetensors file of weights, found none"),
        ("weights", r"expected unet/config\.json, .* found unet/a\.safetensors"),
    ):
        with pytest.raises(AnchorError, match=message):
            load(sd15, tmp_path / folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_weights_in_another_type_are_their_values(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, dtype: torch.dtype
) -> None:
    state = {key: weight.to(dtype) for key, weight in aligned.state_dict().items()}
    aligned.load_state_dict({key: weight.float() for key, weight in state.items()})
    found = load(sd15, save(state, tmp_path / "a.safetensors"))
    assert torch.equal(output(found), output(aligned))


def test_integers_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    state = {**aligned.state_dict(), "conv_in.weight": torch.ones(8, 4, 3, 3, dtype=torch.int8)}
    with pytest.raises(AnchorError, match=r"conv_in\.weight is quantized \(torch\.int8\)"):
        load(sd15, save(state, tmp_path / "a.safetensors"))
