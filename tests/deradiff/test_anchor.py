"""Anchors in every form they come in, local and from a hub cache."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny_pipelines
from deradiff import Anchor, AnchorError, PipelineOptions, load_anchor


def sample(anchor: Anchor, lam: float) -> Tensor:
    with anchor.realign(lam):
        latents: Tensor = anchor.pipe(
            "a red three",
            num_inference_steps=3,
            generator=torch.Generator().manual_seed(0),
            output_type="latent",
        ).images
    return latents


@pytest.fixture
def aligned_unet(sd15: StableDiffusionPipeline) -> torch.nn.Module:
    return tiny_pipelines.perturb(sd15.unet, seed=1)


@pytest.fixture
def expected(sd15: StableDiffusionPipeline, aligned_unet: torch.nn.Module) -> Tensor:
    return sample(Anchor(sd15, aligned_unet, 500.0), 0.6)


def test_unet_folder_whole_pipeline_and_single_file_are_the_same_anchor(
    tmp_path: Path,
    sd15_folder: Path,
    sd15: StableDiffusionPipeline,
    aligned_unet: torch.nn.Module,
    expected: Tensor,
) -> None:
    aligned_unet.save_pretrained(tmp_path / "bare")
    aligned_unet.save_pretrained(tmp_path / "nested" / "unet")
    type(sd15)(**{**sd15.components, "unet": aligned_unet}).save_pretrained(tmp_path / "whole")
    save_file(aligned_unet.state_dict(), tmp_path / "weights.safetensors")
    prints = set()
    for form in ("bare", "nested", "whole", "weights.safetensors"):
        anchor = load_anchor(sd15_folder, tmp_path / form, beta=500)
        assert torch.equal(sample(anchor, 0.6), expected)
        assert not any(weight.requires_grad for weight in anchor.aligned.parameters())
        prints.add(anchor.fingerprint())
    assert len(prints) == 1
    other = Anchor(sd15, tiny_pipelines.perturb(aligned_unet, seed=2, scale=1e-4), 500.0)
    assert other.fingerprint() not in prints


def test_lora_folder_and_file(
    tmp_path: Path, sd15_folder: Path, sd15: StableDiffusionPipeline
) -> None:
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    reference = sample(Anchor(sd15, tiny_pipelines.perturb(sd15.unet, 0), 1.0), 0.0)
    with tiny_pipelines.seeded_weights(0):
        config = LoraConfig(
            r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False
        )
        sd15.unet.add_adapter(config)
    adapted = sd15(
        "a red three",
        num_inference_steps=3,
        generator=torch.Generator().manual_seed(0),
        output_type="latent",
    ).images
    lora = get_peft_model_state_dict(sd15.unet)
    type(sd15).save_lora_weights(tmp_path, unet_lora_layers=lora)
    for form in (tmp_path, tmp_path / "pytorch_lora_weights.safetensors"):
        anchor = load_anchor(sd15_folder, form, beta=500)
        assert anchor.aligned == "aligned"
        torch.testing.assert_close(sample(anchor, 0.0), reference, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(sample(anchor, 1.0), adapted, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")
def test_hub_ids_are_loaded_from_the_cache(
    tmp_path: Path,
    sd15_folder: Path,
    aligned_unet: torch.nn.Module,
    expected: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    aligned_unet.save_pretrained(tmp_path / "aligned" / "unet")
    fill_hub_cache(cache, "team/reference", sd15_folder)
    fill_hub_cache(cache, "team/aligned", tmp_path / "aligned")
    anchor = load_anchor("team/reference", "team/aligned", beta=500)
    assert torch.equal(sample(anchor, 0.6), expected)
    with pytest.raises(AnchorError, match="aligned team/absent: cannot be loaded"):
        load_anchor("team/reference", "team/absent", beta=500)


def fill_hub_cache(cache: Path, repository: str, folder: Path) -> None:
    """Lay a folder out as huggingface_hub's cache holds a downloaded repository."""
    root = cache / f"models--{repository.replace('/', '--')}"
    commit = hashlib.sha1(repository.encode()).hexdigest()
    shutil.copytree(folder, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)


def test_what_changes_nothing_is_refused(tmp_path: Path, sd15_folder: Path) -> None:
    with pytest.raises(AnchorError, match="gives exactly the reference's output"):
        load_anchor(sd15_folder, sd15_folder, beta=500)


def test_what_does_not_fit_is_refused(
    tmp_path: Path, sd15_folder: Path, aligned_unet: torch.nn.Module
) -> None:
    tiny_pipelines.sdxl().unet.save_pretrained(tmp_path / "sdxl")
    with pytest.raises(AnchorError, match="its forward pass fails"):
        load_anchor(sd15_folder, tmp_path / "sdxl", beta=500)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnchorError, match=r"aligned .*empty: cannot be loaded"):
        load_anchor(sd15_folder, tmp_path / "empty", beta=500)
    torch.save(aligned_unet.state_dict(), tmp_path / "weights.bin")
    with pytest.raises(AnchorError, match="pickled and may run any code"):
        load_anchor(sd15_folder, tmp_path / "weights.bin", beta=500)
    with pytest.raises(AnchorError, match=r"reference .*absent: cannot be loaded"):
        load_anchor(tmp_path / "absent", sd15_folder, beta=500)
    weights = load_file(sd15_folder / "unet" / "diffusion_pytorch_model.safetensors")
    weights.pop("conv_in.weight")
    save_file(weights, tmp_path / "torn.safetensors")
    with pytest.raises(
        AnchorError, match=r"torn\.safetensors: 1 of 208 weights are missing: conv_in"
    ):
        load_anchor(sd15_folder, tmp_path / "torn.safetensors", beta=500)


def test_pickled_weights_only_on_request(
    tmp_path: Path, sd15_folder: Path, aligned_unet: torch.nn.Module, expected: Tensor
) -> None:
    """And with the request, safetensors are taken still."""
    aligned_unet.save_pretrained(tmp_path / "folder", safe_serialization=False)
    torch.save(aligned_unet.state_dict(), tmp_path / "file.bin")
    trusting = PipelineOptions(use_safetensors=False)
    for form in ("folder", "file.bin"):
        with pytest.raises(AnchorError, match=r"pickled|cannot be loaded"):
            load_anchor(sd15_folder, tmp_path / form, beta=500)
        anchor = load_anchor(sd15_folder, tmp_path / form, beta=500, options=trusting)
        assert torch.equal(sample(anchor, 0.6), expected)


def test_a_pickled_lora_is_refused(
    tmp_path: Path, sd15_folder: Path, sd15: StableDiffusionPipeline
) -> None:
    weights = {"unet.x.lora_A.weight": torch.zeros(2, 2)}
    torch.save(weights, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(AnchorError, match="cannot be loaded"):
        load_anchor(sd15_folder, tmp_path, beta=500)


def test_an_anchor_that_is_not_finite_is_refused(
    tmp_path: Path, sd15_folder: Path, aligned_unet: torch.nn.Module
) -> None:
    with torch.no_grad():
        aligned_unet.conv_in.weight[0] = float("nan")
    aligned_unet.save_pretrained(tmp_path)
    with pytest.raises(AnchorError, match="its output is not finite"):
        load_anchor(sd15_folder, tmp_path, beta=500)


def test_options_choose_scheduler_vae_and_dtype(
    tmp_path: Path, sd15_folder: Path, aligned_unet: torch.nn.Module
) -> None:
    aligned_unet.save_pretrained(tmp_path / "unet")
    vae = tiny_pipelines.perturb(tiny_pipelines.sd15().vae, seed=3)
    vae.save_pretrained(tmp_path / "vae")
    options = PipelineOptions(
        scheduler="DDIMScheduler",
        scheduler_config={"clip_sample": False, "timestep_spacing": "trailing"},
        vae=str(tmp_path / "vae"),
        dtype="bfloat16",
    )
    anchor = load_anchor(sd15_folder, tmp_path, beta=500, options=options)
    assert type(anchor.pipe.scheduler).__name__ == "DDIMScheduler"
    assert anchor.pipe.scheduler.config.timestep_spacing == "trailing"
    assert anchor.pipe.unet.dtype == anchor.aligned.dtype == torch.bfloat16
    torch.testing.assert_close(
        anchor.pipe.vae.decoder.conv_in.weight.float(),
        vae.decoder.conv_in.weight,
        rtol=1e-2,
        atol=0,
    )


def test_a_misspelt_scheduler_setting_is_refused(sd15_folder: Path) -> None:
    options = PipelineOptions(scheduler_config={"timestep_spacng": "trailing"})
    with pytest.raises(AnchorError, match=r"'timestep_spacng' given, but Euler.* takes"):
        load_anchor(sd15_folder, sd15_folder, beta=500, options=options)
    with pytest.raises(AnchorError, match="cannot be loaded"):
        load_anchor(
            sd15_folder, sd15_folder, beta=500, options=PipelineOptions(vae=str(sd15_folder))
        )


def test_effective_beta(sd15: StableDiffusionPipeline, aligned_unet: torch.nn.Module) -> None:
    anchor = Anchor(sd15, aligned_unet, 500.0)
    assert anchor.effective_beta(0.25) == 2000
    assert anchor.effective_beta(0.0) == float("inf")
    with pytest.raises(AnchorError, match="beta = -1"):
        Anchor(sd15, aligned_unet, -1)
