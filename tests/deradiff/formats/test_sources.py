"""Local folders and hub repositories are one view of files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

import tiny_pipelines
from deradiff import AnchorError
from deradiff.formats.sources import open_source

from .files import assert_same, attention_layers, changed, factors, kohya, load, output, save


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the repository `team/aligned` in the hub's cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    root = tmp_path / "models--team--aligned"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("c0ffee")
    return root / "snapshots" / "c0ffee"


def test_a_lora_on_the_hub(hub: Path, sd15: StableDiffusionPipeline) -> None:
    given = factors(sd15.unet, attention_layers(sd15.unet))
    expected = changed(sd15.unet, given)
    save(kohya(given), hub / "lora.safetensors")
    assert_same(load(sd15, Path("team/aligned")), expected)


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
def test_a_folder_of_a_repository(hub: Path, sd15: StableDiffusionPipeline) -> None:
    aligned = tiny_pipelines.perturb(sd15.unet, seed=1)
    aligned.save_pretrained(hub / "checkpoint-9" / "unet")
    for location in ("team/aligned", "team/aligned/checkpoint-9", "team/aligned/checkpoint-9/unet"):
        assert torch.equal(output(load(sd15, Path(location))), output(aligned))


def test_neither_file_nor_repository(tmp_path: Path) -> None:
    with pytest.raises(AnchorError, match="neither a file nor a folder nor a hub id"):
        open_source(str(tmp_path / "absent"))


def test_the_newest_checkpoint_is_by_number(tmp_path: Path) -> None:
    for name in ("checkpoint-9", "checkpoint-100", "checkpoint-last", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.safetensors").touch()
    assert open_source(str(tmp_path)).newest_checkpoint() == "checkpoint-100"
    shutil.rmtree(tmp_path / "checkpoint-9")
    assert open_source(str(tmp_path / "other")).newest_checkpoint() is None


def test_symbolic_links(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    """Folders and files may be links, as in the hub's cache; a link to a folder above ends."""
    aligned = tiny_pipelines.perturb(sd15.unet, seed=1)
    aligned.save_pretrained(tmp_path / "real")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "unet").symlink_to(tmp_path / "real")
    (tmp_path / "folder" / "above").symlink_to(tmp_path)
    (tmp_path / "files" / "unet").mkdir(parents=True)
    for file in (tmp_path / "real").iterdir():
        (tmp_path / "files" / "unet" / file.name).symlink_to(file)
    (tmp_path / "all").symlink_to(tmp_path / "folder")
    for location in ("folder", "folder/unet", "files", "files/unet", "all"):
        assert torch.equal(output(load(sd15, tmp_path / location)), output(aligned))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.safetensors").symlink_to(tmp_path / "absent")
    with pytest.raises(AnchorError, match="found nothing"):
        load(sd15, tmp_path / "broken")
