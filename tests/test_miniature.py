"""The bundled world: real formats, a hacked anchor, and data that belong to the weights."""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import Settings, load_settings
from lamsearch.evaluation.loading import load_anchor
from lamsearch.rewards import CheckedReward, load_reward

WORLD = Path(__file__).parents[1] / "lamsearch" / "miniature"
BETAS = (250, 500, 750, 1000, 2000, 5000, 8000, 10000)
FIRST_SEED = 1_000_000


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(WORLD / "lamsearch.toml")


@pytest.fixture(scope="module")
def pickscore(settings: Settings) -> CheckedReward:
    return load_reward(settings.reward("pickscore"))


def curve() -> dict[str, np.ndarray]:
    with (WORLD / "reference_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def test_it_is_small_and_holds_no_pickles() -> None:
    files = [path for path in WORLD.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert not {path.suffix for path in files} & {".bin", ".ckpt", ".pt", ".pth", ".pkl"}


def test_it_does_not_say_where_it_was_made() -> None:
    for file in [*WORLD.rglob("*.json"), *WORLD.rglob("*.toml"), *WORLD.rglob("*.md")]:
        assert '": "/' not in file.read_text(), file


def test_no_other_code_knows_the_bundled_settings() -> None:
    """Its names appear in its own settings file alone."""
    package = WORLD.parent
    names = tomllib.loads((WORLD / "lamsearch.toml").read_text())["anchors"]
    for path in [*package.rglob("*.py"), *(package.parent / "deradiff").rglob("*.py")]:
        assert not [name for name in names if name in path.read_text()], path


@pytest.mark.slow
@pytest.mark.parametrize("beta", BETAS)
def test_every_anchor_loads_and_has_an_effect(settings: Settings, beta: int) -> None:
    anchor = load_anchor(settings.anchor(f"beta{beta}"), "cpu")
    assert anchor.beta == beta
    assert type(anchor.pipe).__name__ == "StableDiffusionPipeline"


@pytest.mark.parametrize("name", ["pickscore", "clip", "hps"])
def test_rewards_prefer_the_prompt_that_was_asked_for(settings: Settings, name: str) -> None:
    reward = load_reward(settings.reward(name))
    pipe = load_anchor(settings.anchor("beta500"), "cpu").pipe
    prompts = ["a red seven", "a blue zero", "a green four", "a purple eight"]
    seeds = [torch.Generator().manual_seed(i) for i in range(4)]
    images = pipe(prompts, generator=seeds, num_inference_steps=20).images
    right = reward.score(images, prompts).mean()
    wrong = reward.score(images, prompts[1:] + prompts[:1]).mean()
    assert right > wrong


def test_search_prompts_and_held_out_prompts_are_apart() -> None:
    search, held_out = (read_prompts(WORLD / name) for name in ("prompts.txt", "heldout.txt"))
    assert len(search) == 200
    assert len(held_out) == 100
    assert not set(search) & set(held_out)


def test_the_anchor_is_hacked_moderately() -> None:
    scores = np.load(WORLD / "reference_scores.npz")
    lams, values = scores["lam"], scores["pickscore"].astype(np.float64)
    assert values.shape == (21, 1000)
    best = int(values.mean(axis=1).argmax())
    assert 0.2 < lams[best] < 0.95
    variances = values.var(axis=1, ddof=1) / 1000
    for end in (0, -1):
        margin = values[best].mean() - values[end].mean()
        assert margin >= 5 * np.sqrt(variances[best] + variances[end])


@pytest.mark.slow
def test_the_reference_curve_is_that_of_these_weights(
    settings: Settings, pickscore: CheckedReward
) -> None:
    """Some of its images, generated again, have the stored scores."""
    stored = np.load(WORLD / "reference_scores.npz")
    table = curve()
    np.testing.assert_allclose(stored["pickscore"].mean(axis=1), table["pickscore"], atol=1e-5)
    prompts = read_prompts(WORLD / "prompts.txt")[:4]
    anchor = load_anchor(settings.anchor("beta500"), "cpu")
    sampling = settings.anchor("beta500").sampling
    for row in (0, 13, 20):
        with anchor.realign(float(stored["lam"][row])):
            images = anchor.pipe(
                prompts,
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance_scale,
                generator=[torch.Generator().manual_seed(FIRST_SEED + i) for i in range(4)],
            ).images
        scores = pickscore.score(images, prompts)
        np.testing.assert_allclose(scores, stored["pickscore"][row, :4], atol=1e-3)
