"""What a Diffusion-DPO training does with its gradients: rate, schedule, decay and average."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image

from deradiff import DPOSettings, PreferencePair, diffusion_dpo_loss
from deradiff.dpo import DPOStep, train
from deradiff.dpo.data import NoisedPairSource
from tiny_clip import pictures

PAIRS = [
    PreferencePair(prompt, Image.new("RGB", (16, 16), (200, 30, 30)), rejected)
    for prompt, rejected in zip(["red", "a red three"] * 4, pictures(8, (16, 16)), strict=True)
]
SMALL = DPOSettings(beta=50.0, learning_rate=1e-3, batch_size=4, accumulation=1, steps=6, warmup=2)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(next(folder.rglob("*.safetensors")))


def test_the_rate_rises_linearly_and_stays() -> None:
    chosen = DPOSettings(beta=500, learning_rate=3.0, warmup=3, steps=10)
    rates = [chosen.learning_rate_at(step) for step in range(10)]
    assert rates == pytest.approx([1.0, 2.0] + [3.0] * 8)


def test_the_cosine_falls_from_the_peak_to_0_at_the_last_step() -> None:
    chosen = DPOSettings(
        beta=500, learning_rate=3.0, warmup=20, steps=120, learning_rate_schedule="cosine"
    )
    rates = [chosen.learning_rate_at(step) for step in range(121)]
    assert rates[:20] == pytest.approx([3.0 * n / 20 for n in range(1, 21)])
    assert rates[20] == pytest.approx(3.0)
    assert rates[70] == pytest.approx(1.5)
    assert rates[45] == pytest.approx(1.5 * (1 + math.sqrt(0.5)))
    assert 0 < rates[119] < 1e-3 * 3.0
    assert rates[120] == pytest.approx(0, abs=1e-12)
    assert all(later < earlier for earlier, later in pairwise(rates[20:]))


@pytest.mark.parametrize(("warmup", "steps"), [(0, 1), (0, 5), (5, 5), (9, 5)])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_every_step_has_a_rate(warmup: int, steps: int, schedule: str) -> None:
    chosen = DPOSettings(
        beta=500, learning_rate=1.0, warmup=warmup, steps=steps, learning_rate_schedule=schedule
    )
    assert all(0 < chosen.learning_rate_at(step) <= 1 for step in range(steps))


def test_the_rate_is_the_papers_at_every_beta_unless_it_belongs_to_one() -> None:
    paper = [DPOSettings.preset("sdxl", beta=beta).peak_learning_rate for beta in (500, 10_000)]
    assert paper == [1e-8, 1e-8]
    rule = {"learning_rate": 2.048e-8, "learning_rate_beta": 2000}
    for beta in (250, 2000, 5000):
        chosen = DPOSettings.preset("sdxl", beta=beta, **rule)
        assert chosen.peak_learning_rate == pytest.approx(2000 / beta * 2.048e-8)


def test_the_first_steps_of_two_betas_are_in_the_ratio_of_1_over_beta(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    """AdamW's first step has the size of its rate, so the step times β is the same."""
    start = sd15.unet.state_dict()
    moves = {}
    for beta in (50.0, 400.0):
        chosen = dataclasses.replace(
            SMALL, beta=beta, learning_rate_beta=50.0, steps=1, warmup=0, weight_decay=0.0,
            max_grad_norm=1e9,
        )  # fmt: skip
        trained = weights(train(sd15, PAIRS, chosen, output=tmp_path / f"{beta}"))
        moves[beta] = torch.cat([(w - start[name]).flatten() for name, w in trained.items()])
    largest = moves[50.0].abs().max()
    assert largest == pytest.approx(1e-3, rel=1e-3)
    # Where the gradient is far above AdamW's epsilon, the step is the rate times its sign.
    clear = moves[50.0].abs() > 0.999 * largest
    assert clear.float().mean() > 0.5
    torch.testing.assert_close(
        400.0 * moves[400.0][clear], 50.0 * moves[50.0][clear], rtol=0.01, atol=1e-4
    )


def test_decay_betas_and_average_are_those_of_adamw_and_of_a_hand_made_average(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    chosen = dataclasses.replace(
        SMALL, weight_decay=0.3, adam_betas=(0.5, 0.6), ema=0.3, learning_rate_schedule="cosine",
        max_grad_norm=1e9,
    )  # fmt: skip
    train(sd15, PAIRS, chosen, output=tmp_path)

    source = NoisedPairSource(sd15, PAIRS, batch_size=4, seed=0)
    denoiser = copy.deepcopy(sd15.unet).train()
    optimizer = torch.optim.AdamW(denoiser.parameters(), betas=(0.5, 0.6), weight_decay=0.3)
    average: dict[str, torch.Tensor] = {}
    for step in range(6):
        optimizer.param_groups[0]["lr"] = chosen.learning_rate_at(step)
        batch = source.batch(step)
        with torch.no_grad():
            reference = batch.errors(sd15.unet)
        loss, _ = diffusion_dpo_loss(batch.errors(denoiser), reference, beta=50.0)
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        decay = min(0.3, (1 + step) / (10 + step)) if step else 0.0
        for name, weight in denoiser.state_dict().items():
            last = average.get(name, weight)
            average[name] = decay * last + (1 - decay) * weight
    trained, last = weights(tmp_path), denoiser.state_dict()
    for name, weight in average.items():
        torch.testing.assert_close(trained[name], weight, rtol=1e-4, atol=2e-6)
    assert max(float((trained[name] - last[name]).abs().max()) for name in last) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("rank", [None, 2])
def test_a_resumed_training_with_cosine_and_average_ends_bit_for_bit_the_same(
    tmp_path: Path, sd15: DiffusionPipeline, rank: int | None
) -> None:
    chosen = dataclasses.replace(
        SMALL, learning_rate_schedule="cosine", ema=0.9, lora_rank=rank, checkpoint_every=2
    )
    whole = weights(train(sd15, PAIRS, chosen, output=tmp_path / "whole"))

    def stop(step: DPOStep) -> None:
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(sd15, PAIRS, chosen, output=tmp_path / "torn", progress=stop)
    torn = weights(train(sd15, PAIRS, chosen, output=tmp_path / "torn"))
    assert all(torch.equal(torn[name], weight) for name, weight in whole.items())
    plain = dataclasses.replace(chosen, ema=None)
    other = weights(train(sd15, PAIRS, plain, output=tmp_path / "plain"))
    assert not all(torch.equal(other[name], weight) for name, weight in whole.items())


def test_a_training_of_an_earlier_version_is_known_again(
    tmp_path: Path, sd15: DiffusionPipeline
) -> None:
    """Its record does not name the settings that came later; they have their defaults."""
    chosen = dataclasses.replace(SMALL, steps=1)
    train(sd15, PAIRS, chosen, output=tmp_path)
    path = tmp_path / "diffusion_dpo.json"
    record = json.loads(path.read_text())
    for name in ("ema", "adam_betas", "weight_decay", "learning_rate_schedule"):
        del record[name]
    path.write_text(json.dumps(record))
    steps: list[DPOStep] = []
    train(sd15, PAIRS, chosen, output=tmp_path, progress=steps.append)
    assert steps == []
    with pytest.raises(ValueError, match=r"other settings \(ema None\)"):
        train(sd15, PAIRS, dataclasses.replace(chosen, ema=0.5), output=tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate_schedule", "linear", "expected one of constant, cosine"),
        ("learning_rate_beta", -1.0, "a number > 0, or None"),
        ("lora_rank", 0, "a number > 0, or None"),
        ("weight_decay", -0.1, "a number ≥ 0"),
        ("adam_betas", (0.9, 1.0), r"two numbers in \[0, 1\)"),
        ("ema", 1.0, r"a number in \[0, 1\), or None"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = .*{expected}"):
        DPOSettings(**{"beta": 500, name: value})
