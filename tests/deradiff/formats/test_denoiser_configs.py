"""The configuration beside a denoiser's weights counts, however the weights are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

import tiny_pipelines
from deradiff import AnchorError
from deradiff.formats.denoiser_config import require_fitting_config

from .files import load, output

pytestmark = pytest.mark.slow

WEIGHTS = "diffusion_pytorch_model.safetensors"
ABSENT = object()


def saved(folder: Path, **changes: Any) -> Path:
    """A denoiser's folder with changes in its configuration."""
    tiny_pipelines.perturb(tiny_pipelines.sd15().unet, seed=1).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | changes
    kept = {name: value for name, value in config.items() if value is not ABSENT}
    (folder / "config.json").write_text(json.dumps(kept))
    return folder


def forms(folder: Path) -> list[tuple[Path, dict[str, str]]]:
    """The ways to give a denoiser in `<folder>/unet`."""
    inner = folder / "unet"
    return [
        (folder, {}),
        (inner, {}),
        (inner / WEIGHTS, {}),
        (inner, {"file": WEIGHTS}),
        (folder, {"file": f"unet/{WEIGHTS}"}),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"flip_sin_to_cos": False},
        {"act_fn": "gelu"},
        {"norm_eps": 0.01},
        {"freq_shift": 1},
        {"attention_head_dim": 2},
    ],
)
def test_a_setting_that_no_weight_shows(
    tmp_path: Path, sd15: StableDiffusionPipeline, change: dict[str, Any]
) -> None:
    """The weights fit the reference's configuration too, but are then another function."""
    saved(tmp_path / "unet", **change)
    expected = UNet2DConditionModel.from_pretrained(tmp_path / "unet").eval()
    unlike = tiny_pipelines.perturb(sd15.unet, seed=1)
    assert not torch.equal(output(expected), output(unlike))
    for location, options in forms(tmp_path):
        assert torch.equal(output(load(sd15, location, **options)), output(expected))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "FluxTransformer2DModel"}, "is a FluxTransformer2DModel, but the refer"),
        ({"quantization_config": {"bits": 4}}, r"is quantized \(quantization_config in its"),
        ({"brand_new": 3}, r"sets brand_new, which the installed diffusers' UNet2DCond.* not know"),
        ({"time_cond_proj_dim": 8}, "time_cond_proj_dim differs: the reference has None, .* 8"),
        (
            {"_class_name": ABSENT, "act_fn": "gelu"},
            "does not name a class, and its act_fn differs",
        ),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, change: dict[str, Any], message: str
) -> None:
    saved(tmp_path / "unet", **change)
    for location, options in forms(tmp_path):
        with pytest.raises(AnchorError, match=f"^aligned .*{message}"):
            load(sd15, location, **options)


@pytest.mark.parametrize("text", ["{", "[1]", "\xff"])
def test_a_damaged_configuration_is_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, text: str
) -> None:
    (saved(tmp_path / "unet") / "config.json").write_bytes(text.encode("latin-1"))
    for location, options in forms(tmp_path):
        with pytest.raises(AnchorError, match=r"config\.json beside it is no JSON"):
            load(sd15, location, **options)


@pytest.mark.parametrize(
    "change",
    [
        {"brand_new": None},
        {"brand_new": False},
        {"_class_name": ABSENT},
        {"decay": 0.999, "optimization_step": 3, "power": 0.7},  # of an average of weights
    ],
)
def test_what_changes_nothing_is_accepted(
    tmp_path: Path, sd15: StableDiffusionPipeline, change: dict[str, Any]
) -> None:
    saved(tmp_path / "unet", **change)
    expected = tiny_pipelines.perturb(sd15.unet, seed=1)
    for location, options in forms(tmp_path):
        assert torch.equal(output(load(sd15, location, **options)), output(expected))


def test_the_former_name_of_a_class(sd15: StableDiffusionPipeline) -> None:
    """PixArt's files call their denoiser by the class that it was before diffusers split it."""

    class PixArtTransformer2DModel(torch.nn.Module):
        config: ClassVar[dict[str, Any]] = {}

    former = {"_class_name": "Transformer2DModel", "norm_type": "ada_norm_single"}
    with pytest.raises(AnchorError, match="sets norm_type"):  # the name fits, this stub does not
        require_fitting_config(PixArtTransformer2DModel(), former)
    with pytest.raises(AnchorError, match="is a Transformer2DModel, but"):
        require_fitting_config(sd15.unet, former)
