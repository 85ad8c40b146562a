"""`lamsearch agree`: a family of real, tiny anchors emulates itself; nothing is made twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lamsearch
import warm_processes
from deradiff import load_anchor
from lamsearch.config.prompt_files import read_prompts
from lamsearch.errors import NoScoreError, SettingsError, StudyError
from lamsearch.evaluation.image_plan import image_plan
from lamsearch.evaluation.images import ImageEvaluation
from lamsearch.rewards.clip import CLIPReward
from lamsearch.study.database import Study

from .family import BETAS, STORAGE


def scores_by_hand(family: Path, name: str, lam: float, images: int) -> np.ndarray:
    plan = image_plan(read_prompts(family / "prompts.txt"), images, 0)
    anchor = load_anchor(family / "reference", family / name, beta=BETAS[name])
    anchor.pipe.set_progress_bar_config(disable=True)
    with anchor.realign(lam):
        made = anchor.pipe(
            [image.prompt for image in plan],
            num_inference_steps=3,
            guidance_scale=3.0,
            generator=[torch.Generator().manual_seed(image.seed) for image in plan],
        ).images
    reward = CLIPReward(str(family / "clip"))
    return np.asarray(reward.score(made, [image.prompt for image in plan]), np.float64)


@pytest.mark.slow
def test_every_pair_is_compared_on_the_same_images(family: Path, agree: Any) -> None:
    found = agree()
    assert found.anchors == ("b250", "b500", "b1000")
    clip = found.rewards[1]
    assert clip.reward == "clip"
    pairs = {(e.anchor, e.target): e for e in clip.emulations}
    assert len(pairs) == 6
    pair = pairs["b250", "b1000"]
    assert pair.lam == 0.25
    emulated = scores_by_hand(family, "b250", 0.25, 4)
    original = scores_by_hand(family, "b1000", 1.0, 4)
    assert pair.approximated == pytest.approx(emulated.mean(), abs=1e-6)
    assert pair.original == pytest.approx(original.mean(), abs=1e-6)
    difference = emulated - original
    assert pair.difference == pytest.approx(difference.mean(), abs=1e-6)
    assert pair.difference_stderr == pytest.approx(difference.std(ddof=1) / 2, abs=1e-6)
    reference = scores_by_hand(family, "b500", 0.0, 4)
    assert clip.members[0].value == pytest.approx(reference.mean(), abs=1e-6)
    assert [m.strength for m in clip.members] == [math.inf, 1000, 500, 250]
    means = [m.value for m in clip.members]
    assert clip.curve_range == pytest.approx(max(means) - min(means))
    sides = clip.statistics.interpolated, clip.statistics.extrapolated
    assert [side.pairs for side in sides if side] == [3, 3]
    assert [p.anchor for p in clip.emulated_peaks] == ["b250", "b500", "b1000"]
    assert found.notes == ()


@pytest.mark.slow
def test_an_interrupted_agreement_goes_on(agree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = agree(study="whole", batch_size=2)
    score, calls = CLIPReward.score, []

    def stops(self: CLIPReward, images: Any, prompts: Any) -> Any:
        calls.append(len(images))
        if len(calls) == 12:
            raise KeyboardInterrupt
        return score(self, images, prompts)

    monkeypatch.setattr(CLIPReward, "score", stops)
    with pytest.raises(KeyboardInterrupt):
        agree(study="killed", batch_size=2)
    resumed = agree(study="killed", batch_size=2)
    assert resumed.rewards == whole.rewards
    # 10 evaluations in 2 batches by 2 rewards; the batch in flight alone is made twice.
    assert len(calls) == 10 * 2 * 2 + 2
    count = len(calls)
    assert agree(study="killed", batch_size=2).rewards == whole.rewards
    assert len(calls) == count  # all is there


@pytest.mark.slow
def test_anchors_and_images_may_be_added(agree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = agree(["b500", "b1000"], images=2)
    assert small.rewards[0].peak is None
    calls = []
    score = CLIPReward.score
    monkeypatch.setattr(
        CLIPReward, "score", lambda self, i, p: calls.append(len(i)) or score(self, i, p)
    )
    grown = agree(images=4, batch_size=2)
    assert grown.images == 4
    fresh = agree(images=4, batch_size=2, study="fresh")
    for one, other in zip(grown.rewards, fresh.rewards, strict=True):
        assert one.statistics.interpolated == other.statistics.interpolated
    # Four of the five small evaluations are continued; the reference moves to the new first anchor.
    assert sum(calls) == 2 * (10 * 4 + 10 * 4 - 4 * 2)
    fewer = agree(["b500", "b1000"], images=2)
    assert (fewer.anchors, fewer.images) == (grown.anchors, grown.images)


@pytest.mark.slow
def test_other_rewards_or_weights_are_another_study(agree: Any) -> None:
    agree(images=2)
    with pytest.raises(StudyError, match="rewards was"):
        agree(images=2, reward=["clip"])
    with pytest.raises(StudyError, match="plan was"):
        agree(images=2, prompts=other_prompts())


@pytest.mark.slow
def test_anchors_that_come_later_are_sampled_like_the_others(family: Path, agree: Any) -> None:
    before = agree(["b500", "b1000"], images=2)
    with pytest.raises(StudyError, match="plan was"):
        agree(["b250", "b1000"], images=2, prompts=other_prompts())
    text = (family / "lamsearch.toml").read_text()
    changed = family / "later.toml"
    changed.write_text(text.replace("steps = 3", "steps = 4"))
    options = {"images": 8, "config": changed}
    with pytest.raises(StudyError, match="steps was 3, is 4"):
        lamsearch.agree(["b250", "b500"], ["pickscore", "clip"], **options)
    retrained = family / "retrained.toml"
    retrained.write_text(text.replace("[anchors.b500]", "[anchors.again]"))
    options = {"images": 8, "config": retrained}
    with pytest.raises(SettingsError, match="anchor again has beta = 500, and the agreement holds"):
        lamsearch.agree(["again", "b1000"], ["pickscore", "clip"], **options)
    assert agree(["b500", "b1000"], images=2) == before  # none of them has left a trace


@pytest.mark.slow
def test_an_anchor_that_cannot_be_loaded_does_not_spoil_the_others(
    family: Path, agree: Any
) -> None:
    text = (family / "lamsearch.toml").read_text()
    broken = family / "broken.toml"
    broken.write_text(text.replace('aligned = "b1000"', 'aligned = "reference"'))
    with pytest.raises(SettingsError, match="changes nothing"):
        lamsearch.agree(list(BETAS), ["pickscore", "clip"], images=2, config=broken)
    found = agree(["b250", "b500"], images=2)
    assert found.anchors == ("b250", "b500")
    assert found.notes == ()


def other_prompts() -> Path:
    Path("other.txt").write_text("a blue nine\nred\n")
    return Path("other.txt")


@pytest.mark.slow
def test_an_extrapolation_without_usable_images_is_left_out(
    agree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = ImageEvaluation._generate

    def black_beyond(limit: float) -> Any:
        def generate(self: ImageEvaluation, planned: Any) -> Any:
            videos = inner(self, planned)
            return [None] * len(videos) if self._realignment.lam > limit else videos

        return generate

    monkeypatch.setattr(ImageEvaluation, "_generate", black_beyond(3))
    found = agree(images=2)
    assert len(found.rewards[0].emulations) == 5
    assert "b1000 at λ = 4" in found.notes[0].text
    assert [p.anchor for p in found.rewards[0].emulated_peaks] == ["b250", "b500"]
    monkeypatch.setattr(ImageEvaluation, "_generate", black_beyond(0.3))
    with pytest.raises(NoScoreError, match=r"lam = 1: 2 of 2 scores are missing"):
        agree(images=2, study="other")
    monkeypatch.setattr(ImageEvaluation, "_generate", inner)
    assert agree(images=2).notes == ()  # it is tried again


@pytest.mark.slow
def test_workers_that_add_anchors_at_once_lose_none(family: Path, agree: Any) -> None:
    del agree  # for its working directory
    code = (
        "import sys, lamsearch; lamsearch.agree(sys.argv[2:], ['pickscore'], images=2,"
        " config=sys.argv[1])"
    )
    config = str(family / "lamsearch.toml")
    pairs = [("b250", "b500"), ("b500", "b1000")]
    workers = [warm_processes.start(code, config, *pair) for pair in pairs]
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = lamsearch.agree([*BETAS], ["pickscore"], images=2, config=config)
    assert found.anchors == tuple(BETAS)
    assert found.notes == ()
    for name in BETAS:
        done = [e.lam for e in Study.open(f"agreement-seed0/{name}", STORAGE).history().finished]
        assert len(done) == len(set(done))
