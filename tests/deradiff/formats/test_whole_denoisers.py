"""Every way in which people keep whole denoisers gives exactly their weights, or is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
from torch import Tensor, nn

import tiny_pipelines
from deradiff import AnchorError, PipelineOptions
from deradiff.formats.ldm_names import ldm_names
from deradiff.formats.weights import component_files
from deradiff.loading import load_aligned

from .files import load, output, save

pytestmark = pytest.mark.slow


@pytest.fixture
def aligned(sd15: StableDiffusionPipeline) -> nn.Module:
    return tiny_pipelines.perturb(sd15.unet, seed=1)


def original(unet: nn.Module, prefix: str) -> dict[str, Tensor]:
    """The weights under the names of the original format."""
    names = ldm_names(unet.config, [name for name, _ in unet.named_modules() if name])
    own = {name: written for written, name in names.items()}
    state = {}
    for key, weight in unet.state_dict().items():
        module, _, kind = key.rpartition(".")
        state[f"{prefix}{own[module]}.{kind}"] = weight
    return state


@pytest.mark.parametrize("kind", ["sd15", "sdxl"])
def test_names_of_the_original_format_are_those_of_diffusers(kind: str) -> None:
    unet = getattr(tiny_pipelines, kind)().unet
    converted = convert_ldm_unet_checkpoint(
        original(unet, "model.diffusion_model."), config=dict(unet.config)
    )
    state = unet.state_dict()
    assert converted.keys() == state.keys()
    assert all(torch.equal(converted[key], weight) for key, weight in state.items())


@pytest.mark.parametrize(
    "prefix", ["", "_orig_mod.", "module.", "module._orig_mod.", "unet.", "model.unet."]
)
def test_single_file_with_a_prefix(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, prefix: str
) -> None:
    state = {prefix + key: weight for key, weight in aligned.state_dict().items()}
    found = load(sd15, save(state, tmp_path / "a.safetensors"))
    assert torch.equal(output(found), output(aligned))


def test_regionally_compiled(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    """Compiled blocks leave their wrapper's name in the middle of the keys."""
    state = {
        key.replace("transformer_blocks.0.", "transformer_blocks.0._orig_mod."): weight
        for key, weight in aligned.state_dict().items()
    }
    found = load(sd15, save(state, tmp_path / "a.safetensors"))
    assert torch.equal(output(found), output(aligned))


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
@pytest.mark.parametrize("with_others", [False, True])
def test_single_file_of_the_original_format(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    aligned: nn.Module,
    prefix: str,
    with_others: bool,
) -> None:
    state = original(aligned, prefix)
    if with_others:
        encoder = sd15.text_encoder.state_dict()
        state |= {f"cond_stage_model.transformer.{key}": w for key, w in encoder.items()}
        state |= {"first_stage_model.encoder.conv_in.weight": torch.ones(2), "betas": torch.ones(3)}
    found = load(sd15, save(state, tmp_path / "a.safetensors"))
    assert torch.equal(output(found), output(aligned))


def test_single_file_with_its_own_text_encoder(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    encoder = tiny_pipelines.perturb(sd15.text_encoder, seed=5)
    state = original(aligned, "model.diffusion_model.")
    keys = {
        f"cond_stage_model.transformer.text_model.{k}": w for k, w in encoder.state_dict().items()
    }
    file = save(state | keys, tmp_path / "a.safetensors")
    parts = load_aligned(sd15, file, options=PipelineOptions())
    assert list(parts) == ["unet", "text_encoder"]
    for name, weight in parts["text_encoder"].state_dict().items():
        assert torch.equal(weight, encoder.state_dict()[name])
    unknown = state | {"cond_stage_model.other.weight": torch.ones(2)}
    with pytest.raises(AnchorError, match="text encoder that cannot be compared"):
        load(sd15, save(unknown, tmp_path / "b.safetensors"))


def test_markers_of_the_training(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    state = aligned.state_dict()
    for key, message in (
        ("v_pred", "prediction_type differs: the reference has epsilon, .* v_prediction"),
        ("ztsnr", "rescale_betas_zero_snr differs: the reference has False, .* True"),
    ):
        file = save({**state, key: torch.ones(0)}, tmp_path / f"{key}.safetensors")
        with pytest.raises(AnchorError, match=message):
            load(sd15, file)
    file = save(state, tmp_path / "m.safetensors", {"modelspec.prediction_type": "v"})
    with pytest.raises(AnchorError, match="prediction_type differs"):
        load(sd15, file)


def test_missing_left_over_and_misshapen_weights_are_named(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    state = aligned.state_dict()
    torn = {key: weight for key, weight in state.items() if not key.startswith("conv_in")}
    others = {**state, "extra.weight": torch.ones(2)}
    wrong = {**state, "conv_in.bias": torch.ones(3)}
    for form in ("file", "folder"):
        for number, (weights, message) in enumerate(
            [
                (torn, r"2 of 208 weights are missing: conv_in\.bias, conv_in\.weight"),
                (others, r"1 weights fit no layer of the denoiser: extra\.weight"),
                (wrong, r"conv_in\.bias has the shape \(3,\), expected \(8,\)"),
            ]
        ):
            path = tmp_path / f"{form}{number}"
            if form == "folder":
                aligned.save_pretrained(path)
                save(weights, path / "diffusion_pytorch_model.safetensors")
            else:
                path = save(weights, path / "a.safetensors")
            with pytest.raises(AnchorError, match=message):
                load(sd15, path)


@pytest.mark.parametrize("place", ["", "unet", "unet_ema", "checkpoint-20/unet", "checkpoint-20"])
def test_folders(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    aligned: nn.Module,
    place: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where only checkpoints are, the newest is taken, by its number, and said."""
    aligned.save_pretrained(tmp_path / place)
    if place.startswith("checkpoint"):
        sd15.unet.save_pretrained(tmp_path / "checkpoint-3" / "unet")
        (tmp_path / "checkpoint-20" / "optimizer.bin").write_bytes(b"")
    with caplog.at_level(logging.INFO, "deradiff"):
        found = load(sd15, tmp_path)
    assert torch.equal(output(found), output(aligned))
    assert ("checkpoint-20" in caplog.text) == place.startswith("checkpoint")


def test_weights_that_accelerate_saved_without_a_configuration(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    save(aligned.state_dict(), tmp_path / "checkpoint-7" / "model.safetensors")
    (tmp_path / "checkpoint-7" / "random_states_0.pkl").write_bytes(b"")
    assert torch.equal(output(load(sd15, tmp_path)), output(aligned))


def test_shards(tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module) -> None:
    aligned.save_pretrained(tmp_path, max_shard_size="50KB")
    shards = sorted(tmp_path.glob("*-of-*"))
    assert len(shards) > 1
    assert torch.equal(output(load(sd15, tmp_path)), output(aligned))
    shards[0].unlink()
    with pytest.raises(AnchorError, match=f"index names are missing: {shards[0].name}"):
        load(sd15, tmp_path)


def test_variants(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    aligned: nn.Module,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The variant asked for, else the plain files; where there is but one variant, that one."""
    half = tiny_pipelines.perturb(sd15.unet, seed=1).half()
    half.save_pretrained(tmp_path / "half" / "unet", variant="fp16")
    half.save_pretrained(tmp_path / "shards", variant="fp16", max_shard_size="30KB")
    half.float()
    for folder in ("half", "half/unet", "shards"):
        for variant in ("fp16", None):
            with caplog.at_level(logging.INFO, "deradiff"):
                found = load(sd15, tmp_path / folder, variant=variant)
            assert found.dtype == torch.float32
            assert torch.equal(output(found), output(half))
    assert "has no variant None: using the only one it has, fp16" in caplog.text
    aligned.save_pretrained(tmp_path / "plain")
    assert torch.equal(output(load(sd15, tmp_path / "plain", variant="fp16")), output(aligned))
    # Another one than the requested one, or one of several, is no one's wish.
    with pytest.raises(AnchorError, match="found only the variants fp16: set `variant` to one"):
        load(sd15, tmp_path / "half", variant="bf16")
    aligned.bfloat16().save_pretrained(tmp_path / "half" / "unet", variant="bf16")
    with pytest.raises(AnchorError, match="only the variants bf16, fp16: set `variant`"):
        load(sd15, tmp_path / "half")
    chosen = "unet/diffusion_pytorch_model.fp16.safetensors"
    assert torch.equal(output(load(sd15, tmp_path / "half", file=chosen)), output(half))


def test_names_of_variants_and_shards() -> None:
    names = [
        "m.safetensors",
        "m.fp16-00001-of-00002.safetensors",
        "m.fp16-00002-of-00002.safetensors",
    ]
    files, variant = component_files(names, variant="fp16", use_safetensors=True)
    assert (files, variant) == (names[1:], "fp16")
    assert component_files(names, variant="bf16", use_safetensors=True) == (names[:1], None)


def test_another_class_is_refused(tmp_path: Path, sd15: StableDiffusionPipeline) -> None:
    tiny_pipelines.flux().transformer.save_pretrained(tmp_path)
    with pytest.raises(
        AnchorError,
        match="is a FluxTransformer2DModel, but the reference's denoiser is a UNet2DConditionModel",
    ):
        load(sd15, tmp_path)


def test_a_strength_is_only_for_a_lora(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    with pytest.raises(AnchorError, match="strength is set, but this is a whole denoiser"):
        load(sd15, save(aligned.state_dict(), tmp_path / "a.safetensors"), strength=0.5)
    with pytest.raises(AnchorError, match="strength 0 given, expected a number > 0"):
        PipelineOptions(strength=0)


def test_home_folders(
    tmp_path: Path,
    sd15: StableDiffusionPipeline,
    aligned: nn.Module,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    save(aligned.state_dict(), tmp_path / "models" / "a.safetensors")
    assert torch.equal(output(load(sd15, Path("~/models/a.safetensors"))), output(aligned))


def test_pickles_only_on_request_and_without_code(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    torch.save({"state_dict": aligned.state_dict()}, tmp_path / "a.ckpt")
    with pytest.raises(AnchorError, match=r"a\.ckpt is pickled and may run any code"):
        load(sd15, tmp_path / "a.ckpt")
    found = load(sd15, tmp_path / "a.ckpt", use_safetensors=False)
    assert torch.equal(output(found), output(aligned))
    torch.save({"weights": aligned}, tmp_path / "code.pt")
    with pytest.raises(AnchorError, match="cannot be loaded"):
        load(sd15, tmp_path / "code.pt", use_safetensors=False)


def test_two_models_in_one_file_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    other = {f"_orig_mod.{key}": weight for key, weight in sd15.unet.state_dict().items()}
    file = save(aligned.state_dict() | other, tmp_path / "a.safetensors")
    with pytest.raises(AnchorError, match="twice, with and without a wrapper's name"):
        load(sd15, file)


@pytest.mark.parametrize("root", ["text_model.", "te.", "clip_l.transformer.", "conv_in2."])
@pytest.mark.parametrize("prefix", ["", "unet."])
def test_weights_beside_the_denoiser_that_nobody_knows_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, prefix: str, root: str
) -> None:
    state = {prefix + key: weight for key, weight in aligned.state_dict().items()}
    state |= {f"{root}{name}": torch.ones(2) for name in ("weight", "bias")}
    with pytest.raises(AnchorError, match=rf"2 weights fit no layer of the denoiser: {root}bias"):
        load(sd15, save(state, tmp_path / "a.safetensors"))


def test_the_scales_of_a_quantized_file_are_refused(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    for key in ("scaled_fp8", "conv_in.scale_weight"):
        file = save({**aligned.state_dict(), key: torch.ones(1)}, tmp_path / "a.safetensors")
        with pytest.raises(AnchorError, match=rf"quantized with scales \({key}\): dequantize it"):
            load(sd15, file)


@pytest.mark.parametrize("with_index", [True, False])
def test_shards_of_an_earlier_save_are_not_mixed_in(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, with_index: bool
) -> None:
    aligned.save_pretrained(tmp_path / "a", max_shard_size="60KB")
    sd15.unet.save_pretrained(tmp_path / "b", max_shard_size="45KB")
    if not with_index:
        (tmp_path / "a" / "diffusion_pytorch_model.safetensors.index.json").unlink()
        assert torch.equal(output(load(sd15, tmp_path / "a")), output(aligned))
    for shard in (tmp_path / "b").glob("*-of-*"):
        shard.rename(tmp_path / "a" / shard.name)
    if with_index:
        assert torch.equal(output(load(sd15, tmp_path / "a")), output(aligned))
        return
    with pytest.raises(AnchorError, match="are not one complete set, and no index says"):
        load(sd15, tmp_path / "a")


@pytest.mark.parametrize("suffix", ["SAFETENSORS", "Safetensors"])
def test_a_suffix_in_capitals(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module, suffix: str
) -> None:
    file = save(aligned.state_dict(), tmp_path / f"a.{suffix}")
    for path in (file, tmp_path):
        assert torch.equal(output(load(sd15, path)), output(aligned))


def test_markers_in_the_files_of_a_folder(
    tmp_path: Path, sd15: StableDiffusionPipeline, aligned: nn.Module
) -> None:
    aligned.save_pretrained(tmp_path)
    file, state = tmp_path / "diffusion_pytorch_model.safetensors", aligned.state_dict()
    for extra, metadata in (
        ({"v_pred": torch.ones(0)}, None),
        ({}, {"modelspec.prediction_type": "v"}),
    ):
        save({**state, **extra}, file, metadata)
        with pytest.raises(AnchorError, match="prediction_type differs"):
            load(sd15, tmp_path)
