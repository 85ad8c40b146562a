"""Diffusion-DPO: the loss against its formula, training that learns, resumes and stays exact."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from deradiff import DPOSettings, PreferencePair, diffusion_dpo_loss, load_anchor
from deradiff.dpo import DPOStep, train
from deradiff.dpo.data import NoisedPairSource
from tiny_clip import pictures

PAIRS = [
    PreferencePair(prompt, Image.new("RGB", (16, 16), (200, 30, 30)), rejected)
    for prompt, rejected in zip(["red", "a red three"] * 4, pictures(8, (16, 16)), strict=True)
]


def settings(**overrides: object) -> DPOSettings:
    defaults = {"beta": 50.0, "learning_rate": 1e-3, "batch_size": 4, "accumulation": 1,
                "steps": 6, "warmup": 2, "checkpoint_every": 2}  # fmt: skip
    return DPOSettings(**{**defaults, **overrides})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next(folder.rglob("*.safetensors")))


def test_loss_is_the_formula() -> None:
    model, reference = torch.rand(2, 5), torch.rand(2, 5)
    loss, positive = diffusion_dpo_loss(
        (model[0], model[1]), (reference[0], reference[1]), beta=7.0
    )
    for i in range(5):
        inside = (model[0, i] - reference[0, i]) - (model[1, i] - reference[1, i])
        sigmoid = 1 / (1 + math.exp(7.0 / 2 * float(inside)))
        assert float(loss[i]) == pytest.approx(-math.log(sigmoid), rel=1e-5)
        assert bool(positive[i]) == (float(inside) < 0)


def test_a_model_equal_to_its_reference_has_loss_log_2() -> None:
    errors = (torch.rand(3), torch.rand(3))
    loss, _ = diffusion_dpo_loss(errors, errors, beta=500.0)
    torch.testing.assert_close(loss, torch.full((3,), math.log(2)))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "rank"), [("sd15", None), ("sdxl", None), ("sd15", 4)])
def test_training_learns_the_preference_and_makes_an_anchor(
    tmp_path: Path, family: str, rank: int | None, request: pytest.FixtureRequest
) -> None:
    pipe: DiffusionPipeline = request.getfixturevalue(family)
    pipe.save_pretrained(tmp_path / "reference")
    before = {name: weight.clone() for name, weight in pipe.unet.state_dict().items()}
    steps: list[DPOStep] = []
    rate, count = (3e-3, 30) if rank is None else (1e-2, 60)
    chosen = settings(steps=count, lora_rank=rank, learning_rate=rate, batch_size=8, beta=500.0)
    train(pipe, PAIRS, chosen, output=tmp_path / "anchor", progress=steps.append)

    assert [step.step for step in steps] == list(range(1, count + 1))
    assert steps[0].loss == pytest.approx(math.log(2), abs=1e-5)
    assert sum(step.loss for step in steps[-10:]) / 10 < 0.95 * math.log(2)
    assert all(torch.equal(before[name], w) for name, w in pipe.unet.state_dict().items())
    anchor = load_anchor(tmp_path / "reference", tmp_path / "anchor", beta=500)
    assert isinstance(anchor.aligned, str) == (rank is not None)


def test_sdxl_lora_is_an_anchor(tmp_path: Path, sdxl: DiffusionPipeline) -> None:
    sdxl.save_pretrained(tmp_path / "reference")
    train(sdxl, PAIRS, settings(lora_rank=2), output=tmp_path / "anchor")
    assert load_anchor(tmp_path / "reference", tmp_path / "anchor", beta=50).aligned == "aligned"


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 2])
def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path, sd15: DiffusionPipeline, rank: int | None
) -> None:
    chosen = settings(lora_rank=rank)
    train(sd15, PAIRS, chosen, output=tmp_path / "whole")

    def stop(step: DPOStep) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(sd15, PAIRS, chosen, output=tmp_path / "torn", progress=stop)
    with pytest.raises(ValueError, match="written with other settings"):
        train(sd15, PAIRS, settings(lora_rank=rank, beta=9.0), output=tmp_path / "torn")
    done: list[DPOStep] = []
    train(sd15, PAIRS, chosen, output=tmp_path / "torn", progress=done.append)
    assert [step.step for step in done] == [5, 6]
    whole, torn = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(torn[name], weight) for name, weight in whole.items())
    assert not (tmp_path / "torn" / "checkpoint").exists()
    train(sd15, PAIRS, chosen, output=tmp_path / "torn", progress=done.append)
    assert len(done) == 2  # a finished training is not repeated
    with pytest.raises(ValueError, match="written with other settings"):
        train(sd15, PAIRS[:4], chosen, output=tmp_path / "torn")


def test_accumulation_and_warm_up_are_those_of_plain_adam(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    """Two steps of two micro-batches of one image equal AdamW on the mean of their losses."""
    chosen = settings(batch_size=2, accumulation=2, steps=2, warmup=4, max_grad_norm=1e9)
    train(sd15, PAIRS, chosen, output=tmp_path)

    source = NoisedPairSource(sd15, PAIRS, batch_size=2, seed=0)
    denoiser = copy.deepcopy(sd15.unet).train()
    optimizer = torch.optim.AdamW(denoiser.parameters(), weight_decay=1e-2)
    for step in range(2):
        optimizer.param_groups[0]["lr"] = chosen.learning_rate * (step + 1) / 4
        losses = []
        for micro in (2 * step, 2 * step + 1):
            batch = source.batch(micro)
            with torch.no_grad():
                reference = batch.errors(sd15.unet)
            losses.append(diffusion_dpo_loss(batch.errors(denoiser), reference, beta=50.0)[0])
        optimizer.zero_grad()
        torch.cat(losses).mean().backward()
        optimizer.step()
    trained = weights(tmp_path)
    moved = 0.0
    for name, weight in denoiser.state_dict().items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-4, atol=2e-6)
        moved = max(moved, float((weight - sd15.unet.state_dict()[name]).abs().max()))
    assert moved > 1e-4


def test_sdxl_is_told_the_size_of_the_images(sdxl: DiffusionPipeline) -> None:
    wide = [PreferencePair("red", *(Image.new("RGB", (24, 16), (k, 9, 9)) for k in (0, 90)))]
    batch = NoisedPairSource(sdxl, wide, batch_size=1, seed=0).batch(0)
    assert batch.inputs.shape[2:] == (8, 12)
    told = batch.condition["added_cond_kwargs"]["time_ids"]
    assert told.tolist() == [[16, 24, 0, 0, 16, 24]] * 2


def test_batches_share_noise_and_timestep_within_a_pair(sd15: DiffusionPipeline) -> None:
    for cache in (False, True):
        source = NoisedPairSource(sd15, PAIRS, batch_size=4, seed=0, cache_latents=cache)
        first, again = source.batch(3), source.batch(3)
        assert torch.equal(first.inputs, again.inputs)
        assert torch.equal(first.target[:4], first.target[4:])
        assert torch.equal(first.timesteps[:4], first.timesteps[4:])
        assert not torch.equal(first.inputs, source.batch(4).inputs)


def test_presets_are_the_papers_table_4() -> None:
    sdxl, sd15 = (DPOSettings.preset(name, beta=500) for name in ("sdxl", "sd15"))
    assert (sdxl.batch_size * sdxl.accumulation, sdxl.steps, sdxl.warmup) == (128, 30_000, 200)
    assert (sd15.batch_size * sd15.accumulation, sd15.steps, sd15.warmup) == (64, 2_000, 500)
    assert sdxl.learning_rate == sd15.learning_rate == 1e-8
    with pytest.raises(ValueError, match=r"no DPO preset 'sd3'.*sd15"):
        DPOSettings.preset("sd3", beta=500)
    with pytest.raises(ValueError, match="beta = 0"):
        DPOSettings.preset("sd15", beta=0)


def test_unusable_pipelines_and_data_are_refused(tmp_path: Path, sd15: DiffusionPipeline) -> None:
    with pytest.raises(ValueError, match="no preference pairs"):
        train(sd15, [], settings(), output=tmp_path)
    sd15.unet = None
    with pytest.raises(TypeError, match="has no unet"):
        train(sd15, PAIRS, settings(), output=tmp_path)
