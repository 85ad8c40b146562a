"""Held-out confirmation: other prompts than the search's, paired differences, kills, one study."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL.Image import Image
from scipy import stats

import lamsearch
from lamsearch.config.prompt_files import read_prompts
from lamsearch.errors import EvaluationError, PromptError, SettingsError
from lamsearch.evaluation.image_plan import held_out_plan, image_plan
from lamsearch.report.confirmation import (
    confirmation_lams,
    confirmation_name,
    paired_difference,
    read_confirmation,
)
from lamsearch.rewards.clip import CLIPReward
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.proposal import Budget
from studies import begin, finished

PROMPTS = [f"prompt {i}" for i in range(20)]
STORAGE = "sqlite:///lamsearch-studies/studies.db"


def test_the_held_out_plan_shares_no_prompt_and_no_seed_with_the_search() -> None:
    search = image_plan(PROMPTS, 12, seed=3)
    held_out = held_out_plan(search, PROMPTS, 10, seed=3)
    assert len(held_out) == 10
    for field in ("prompt", "seed"):
        assert not {getattr(i, field) for i in search} & {getattr(i, field) for i in held_out}
    assert {image.prompt for image in held_out} == {*PROMPTS} - {i.prompt for i in search}
    assert held_out_plan(search, PROMPTS, 4, seed=3) == held_out[:4]
    with pytest.raises(PromptError, match="all its 20 prompts are among the 20 of the search"):
        held_out_plan(image_plan(PROMPTS, 20, seed=3), PROMPTS, 4, seed=3)


def test_paired_differences_are_those_of_the_t_test() -> None:
    draws = np.random.default_rng(0)
    rows = draws.normal(0, 1, (2, 30))
    rows[0, 3] = rows[1, 7] = np.nan
    compared = paired_difference(rows[0] + 0.4, rows[1])
    assert compared is not None
    value, stderr, interval, images = compared
    present = ~np.isnan(rows).any(axis=0)
    expected = stats.ttest_rel(rows[0, present] + 0.4, rows[1, present])
    low, high = expected.confidence_interval(0.95)
    assert images == 28
    assert interval == pytest.approx((low, high))
    assert value / stderr == pytest.approx(expected.statistic)
    assert paired_difference(rows[0, :1], rows[1, :1]) is None


def test_lam_0_and_1_are_not_evaluated_twice() -> None:
    assert confirmation_lams(0.53217049) == (0.0, 1.0, 0.53217)
    assert confirmation_lams(-1e-9) == confirmation_lams(0.0) == (0.0, 1.0)
    assert confirmation_lams(1.0) == (0.0, 1.0)
    study = Study.create("s", None)
    make(study, (0.0, 1.0), 3)
    result = read_confirmation(study, 1.0)
    assert result is not None
    assert [row.lam for row in result.values] == [0.0, 1.0]
    assert [(d.versus, round(d.value, 9)) for d in result.differences] == [(0.0, 1.0)]


def make(study: Study, lams: Sequence[float], images: int) -> list[tuple[float, int, int]]:
    """Make what is missing; image i scores λ + i/10."""
    made, policy = [], FixedLams(lams, images)
    while (evaluation := begin(study, Budget(), policy)) is not None:
        assert evaluation.images is not None
        ids = range(*evaluation.images[0])
        made.append((evaluation.lam, ids.start, ids.stop))
        study.record(evaluation, Batch(ids, [evaluation.lam + i / 10 for i in ids]))
        study.finish(evaluation)
    return made


def test_an_evaluation_that_failed_is_tried_again() -> None:
    study = Study.create("s", None)
    lams = confirmation_lams(0.5)
    first = begin(study, Budget(), FixedLams(lams, 2))
    assert first is not None
    study.record(first, Batch([0, 1], [math.nan] * 2))
    again = study.finish(first)
    study.record(again, Batch([0, 1], [math.nan] * 2))
    with pytest.raises(EvaluationError):
        study.finish(again)
    assert make(study, lams, 2) == [(0.0, 0, 2), (1.0, 0, 2), (0.5, 0, 2)]


def test_more_images_that_are_all_missing_are_not_made_for_ever() -> None:
    study, lams = Study.create("s", None), confirmation_lams(0.5)
    make(study, lams, 2)
    policy = FixedLams(lams, 3)
    for lam in lams:
        more = begin(study, Budget(), policy)
        assert more is not None
        assert (more.lam, more.images) == (lam, ((2, 3),))
        for _ in range(2):
            study.record(more, Batch([2], [math.nan]))
            more = study.finish(more)
    assert begin(study, Budget(), policy) is None


def test_more_images_are_added_to_those_there_are() -> None:
    study, lams = Study.create("s", None), confirmation_lams(0.5)
    assert len(make(study, lams, 2)) == 3
    assert make(study, lams, 5) == [(0.0, 2, 5), (1.0, 2, 5), (0.5, 2, 5)]
    assert make(study, lams, 3) == []
    later = Study.create("later", None)
    left = begin(later, Budget(), FixedLams(lams, 9))
    assert left is not None
    later.release(left)
    assert make(later, lams, 3) == [(0.0, 0, 9), (1.0, 0, 3), (0.5, 0, 3)]
    result = read_confirmation(study, 0.5)
    assert result is not None
    assert result.images == 5
    assert [row.images for row in result.values] == [5, 5, 5]
    assert [(d.versus, d.images, round(d.value, 9)) for d in result.differences] == [
        (0.0, 5, 0.5),
        (1.0, 5, -0.5),
    ]


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(world: Path, **overrides: Any) -> lamsearch.Summary:
    given = {"budget": 2, "images": 6, "confirm": 4, "also": ["clip"], **overrides}
    given.setdefault("bounds", (0.0, 0.5))  # its answer is neither end
    return lamsearch.run("b500", "pickscore", config=world / "lamsearch.toml", **given)


@pytest.mark.slow
def test_the_answer_is_confirmed_on_prompts_new_to_the_search(
    world: Path, in_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, ...]] = []
    score = CLIPReward.score

    def spy(self: CLIPReward, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
        seen.append(tuple(prompts))
        return score(self, images, prompts)

    monkeypatch.setattr(CLIPReward, "score", spy)
    result = run(world)
    search, held_out = (read_prompts(world / f"{name}.txt") for name in ("prompts", "heldout"))
    confirmed = result.confirmation
    assert confirmed is not None
    assert (confirmed.images, confirmed.study) == (4, f"{result.study}/confirm-{result.lam:.6f}")
    prompts = {prompt for batch in seen[-3:] for prompt in batch}
    assert prompts == {*held_out} - {*search}
    assert {d.reward for d in confirmed.differences} == {"pickscore", "clip"}
    rows = {e.lam: e for e in finished(confirmed.study, STORAGE)}
    answer = rows[round(result.lam, 6)]
    for d in confirmed.differences:
        at, other = (
            e.row if d.reward == "pickscore" else e.tracked_row("clip")
            for e in (answer, rows[d.versus])
        )
        assert d.value == pytest.approx(np.nanmean(at - other))
    json_ = result.to_json()["confirmation"]
    assert set(json_) == {"study", "images", "values", "differences"}
    assert set(json_["differences"][0]) == {
        "reward", "versus", "value", "stderr", "interval", "images"
    }  # fmt: skip


@pytest.mark.slow
def test_without_being_asked_for_there_is_none(world: Path, in_tmp: Path) -> None:
    plain = run(world, confirm=0)
    assert plain.confirmation is None
    confirmed = run(world)
    assert dataclasses.replace(confirmed, confirmation=None) == plain
    assert run(world, confirm=0) == confirmed


@pytest.mark.slow
def test_a_resumed_confirmation_goes_on_batch_by_batch(world: Path, in_tmp: Path) -> None:
    class Killer:
        """Interrupts after so many batches of the confirmation."""

        batches: int | None = None

        def confirming(self, lams: int, images: int) -> None:
            assert (lams, images) == (3, 4)
            self.batches = 0

        def scored(self, evaluation: object, images: int) -> None:
            if self.batches is not None:
                self.batches += 1
                if self.batches == 3:
                    raise KeyboardInterrupt

        def started(self, evaluation: object, done: int) -> None: ...

        def mixing(self, way: str) -> None: ...

        def finished(self, evaluation: object) -> None: ...

    whole = run(world, study="whole", batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        run(world, study="killed", batch_size=2, progress=Killer())
    assert run(world, study="killed", batch_size=2, confirm=0).confirmation is None
    resumed = run(world, study="killed", batch_size=2)
    assert resumed.confirmation is not None
    assert whole.confirmation is not None
    assert resumed.confirmation.differences == whole.confirmation.differences
    assert len(finished(resumed.confirmation.study, STORAGE)) == 3


@pytest.mark.slow
def test_a_confirmation_with_more_images_keeps_those_there_are(world: Path, in_tmp: Path) -> None:
    first, whole = run(world), run(world, study="whole", confirm=7)
    assert first.confirmation is not None
    assert whole.confirmation is not None
    before = finished(first.confirmation.study, STORAGE)
    more = run(world, confirm=7).confirmation
    assert more is not None
    assert finished(more.study, STORAGE)[: len(before)] == before
    assert more.images == 7
    for extended, at_once in zip(more.differences, whole.confirmation.differences, strict=True):
        assert extended.images == at_once.images == 7
        assert extended.value == pytest.approx(at_once.value, abs=1e-7)
    # Asked for fewer, it says what it has.
    assert run(world).confirmation == more


@pytest.mark.slow
def test_another_answer_is_another_matter(world: Path, in_tmp: Path) -> None:
    first = run(world)
    assert first.confirmation is not None
    assert confirmation_name(first.study, first.lam / 2) != first.confirmation.study
    assert run(world) == first


@pytest.mark.slow
def test_what_cannot_be_confirmed_is_said_before_the_search(world: Path, in_tmp: Path) -> None:
    own = in_tmp / "own.txt"
    own.write_text("blue\nred\nred blue\n")
    message = r"confirm 4: none left in .*own.txt: all its 3 prompts are among the 3 of the search"
    with pytest.raises(SettingsError, match=message) as error:
        run(world, prompts=own)
    assert "--confirm-prompts" in str(error.value)
    with pytest.raises(SettingsError, match="confirm 1 given, expected at least 2 images"):
        run(world, confirm=1)
    assert not (in_tmp / "lamsearch-studies").exists()
    assert run(world, prompts=own, images=2, study="own").confirmation is not None
    given = run(world, prompts=own, confirm_prompts=world / "prompts.txt", study="given")
    assert given.confirmation is not None
