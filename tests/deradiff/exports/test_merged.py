"""Weights between the models, and LoRAs of their difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

import deradiff
import tiny_pipelines
from deradiff.exports.low_rank import DIFFUSERS_FILE, KOHYA_FILE, low_rank
from deradiff.exports.merged import interpolated, merged_components
from deradiff.exports.pipeline_folder import save_pipeline
from deradiff.exports.plain_weights import aligned_weights, plain_weights

from .test_realigned_folder import aligned_unet, images, lora


@pytest.fixture
def anchor(sd15_folder: Path, tmp_path: Path) -> deradiff.Anchor:
    return deradiff.load_anchor(sd15_folder, aligned_unet(tmp_path / "aligned"), beta=500)


@pytest.fixture(params=[False, True], ids=["lora", "dora"])
def adapted(request: Any, sd15_folder: Path, tmp_path: Path) -> deradiff.Anchor:
    given = lora(tmp_path / "lora", dora=request.param)
    return deradiff.load_anchor(sd15_folder, given, beta=500)


def output(unet: Any) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    sample = torch.randn(1, 4, 8, 8, generator=generator)
    text = torch.randn(1, 5, 16, generator=generator)
    with torch.no_grad():
        found: Tensor = unet(sample, 7, text).sample
    return found


def adapter_output(anchor: deradiff.Anchor) -> Tensor:
    """What the denoiser gives with its adapter, as diffusers leaves it after loading."""
    return output(anchor.pipe.unet)


def test_interpolation_is_the_formula_and_exact_at_both_ends() -> None:
    ours, theirs = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(interpolated(ours, theirs, 0.0), ours)
    assert torch.equal(interpolated(ours, theirs, 1.0), theirs)
    expected = (0.7 * ours.double() + 0.3 * theirs.double()).float()
    assert torch.equal(interpolated(ours, theirs, 0.3), expected)
    counts = torch.arange(3)
    assert torch.equal(interpolated(counts, counts + 1, 0.5), counts)


def test_merged_ends_are_the_models(anchor: deradiff.Anchor) -> None:
    for lam, model in ((0.0, anchor.pipe.unet), (1.0, anchor.aligned)):
        merged = merged_components(anchor, lam)["unet"]
        for name, weight in model.state_dict().items():
            assert torch.equal(merged.state_dict()[name], weight)


def test_merged_adapters_give_the_adapters_outputs(adapted: deradiff.Anchor) -> None:
    merged = merged_components(adapted, 1.0)["unet"]
    torch.testing.assert_close(output(merged), adapter_output(adapted), rtol=1e-4, atol=1e-4)
    plain = merged_components(adapted, 0.0)["unet"]
    assert not torch.allclose(output(plain), output(merged), atol=1e-2)


@pytest.mark.slow
def test_a_merged_pipeline_is_stock(
    anchor: deradiff.Anchor, adapted: deradiff.Anchor, tmp_path: Path
) -> None:
    for number, each in enumerate((anchor, adapted)):
        merged = merged_components(each, 0.6)
        save_pipeline(each.pipe, tmp_path / f"{number}", merged)
        pipe = StableDiffusionPipeline.from_pretrained(tmp_path / f"{number}")
        assert type(pipe.scheduler) is type(each.pipe.scheduler)
        for name, weight in merged["unet"].state_dict().items():
            assert torch.equal(pipe.unet.state_dict()[name], weight)


def test_an_own_lora_is_scaled_exactly(sd15_folder: Path, tmp_path: Path) -> None:
    anchor = deradiff.load_anchor(sd15_folder, lora(tmp_path / "lora"), beta=500)
    found = low_rank(anchor, 0.6, rank=64)
    assert (found.is_own, found.share, found.rank) == (True, 1.0, 3)
    merged = merged_components(anchor, 0.6)["unet"].state_dict()
    for name, weight in found.applied_to(anchor.pipe.unet).state_dict().items():
        torch.testing.assert_close(weight, merged[name], rtol=1e-6, atol=1e-6)


def test_the_nearest_lora_of_full_rank_keeps_all_that_a_lora_can(anchor: deradiff.Anchor) -> None:
    found = low_rank(anchor, 0.6, rank=10_000)
    assert not found.is_own
    weights = plain_weights(anchor.pipe.unet)
    merged = merged_components(anchor, 0.6)["unet"].state_dict()
    applied = found.applied_to(anchor.pipe.unet).state_dict()
    for name, weight in applied.items():
        layer = name.removesuffix(".weight")
        expected = merged[name] if layer in found.factors else weights[name]
        torch.testing.assert_close(weight, expected, rtol=1e-5, atol=1e-6)
    # Biases and norms are the rest, which no LoRA holds.
    theirs = aligned_weights(anchor.pipe.unet, anchor.aligned)
    squares = {n: float((theirs[n] - w).double().square().sum()) for n, w in weights.items()}
    held = sum(squares[f"{layer}.weight"] for layer in found.factors)
    assert found.share == pytest.approx((held / sum(squares.values())) ** 0.5, rel=1e-6)
    assert 0.9 < found.share < 1


def test_a_smaller_rank_is_the_nearest_of_its_rank(anchor: deradiff.Anchor) -> None:
    shares = [low_rank(anchor, 1.0, rank).share for rank in (1, 2, 4, 8, 64)]
    assert shares == sorted(shares)
    layer = "mid_block.attentions.0.proj_in"
    down, up = low_rank(anchor, 1.0, 2).factors[layer]
    theirs = aligned_weights(anchor.pipe.unet, anchor.aligned)[f"{layer}.weight"]
    change = (theirs.double() - anchor.pipe.unet.get_submodule(layer).weight.double()).flatten(1)
    lost = (change - up.flatten(1) @ down.flatten(1)).square().sum()
    torch.testing.assert_close(lost, torch.linalg.svdvals(change)[2:].square().sum())


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False])
def test_diffusers_reads_the_lora_as_it_was_measured(
    own: bool, anchor: deradiff.Anchor, sd15_folder: Path, tmp_path: Path
) -> None:
    if own:
        anchor = deradiff.load_anchor(sd15_folder, lora(tmp_path / "lora"), beta=500)
    found = low_rank(anchor, 0.6, rank=4)
    found.save(tmp_path, dtype=torch.float32, kohya=True)
    expected = output(found.applied_to(anchor.pipe.unet))
    for file in (DIFFUSERS_FILE, KOHYA_FILE):
        pipe = StableDiffusionPipeline.from_pretrained(sd15_folder)
        before = output(pipe.unet)
        pipe.load_lora_weights(str(tmp_path), weight_name=file)
        torch.testing.assert_close(output(pipe.unet), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(before, expected, atol=1e-3)
        again = deradiff.load_anchor(sd15_folder, tmp_path / file, beta=None)
        torch.testing.assert_close(adapter_output(again), expected, rtol=1e-4, atol=1e-4)


def test_several_components_are_no_lora(sd15_folder: Path, tmp_path: Path) -> None:
    other = tiny_pipelines.sd15()
    other.unet = tiny_pipelines.perturb(other.unet, 1)
    other.text_encoder = tiny_pipelines.perturb(other.text_encoder, 2, 0.1)
    other.save_pretrained(tmp_path / "aligned")
    anchor = deradiff.load_anchor(sd15_folder, tmp_path / "aligned", beta=None)
    with pytest.raises(deradiff.AnchorError, match="differs in unet, text_encoder"):
        low_rank(anchor, 0.5, 4)
    merged = merged_components(anchor, 1.0)
    encoder = merged["text_encoder"].state_dict()
    for name, weight in other.text_encoder.state_dict().items():
        assert torch.equal(encoder[name], weight)


def test_a_denoiser_alone_is_a_folder_of_diffusers(anchor: deradiff.Anchor, tmp_path: Path) -> None:
    merged = merged_components(anchor, 0.3)["unet"]
    merged.save_pretrained(tmp_path / "unet")
    again = UNet2DConditionModel.from_pretrained(tmp_path / "unet")
    assert torch.equal(output(again), output(merged))
    assert images(anchor.pipe).shape[0] == 2  # the anchor can still be sampled
