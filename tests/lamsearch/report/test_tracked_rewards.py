"""Other rewards beside the optimised one: recorded, reported, and a constraint on λ*."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lamsearch
from lamsearch.errors import EvaluationError, SettingsError, StudyError
from studies import finished

Shown = Callable[[lamsearch.Summary], str]

EFFECTS = np.random.default_rng(0).normal(0, 1.0, 40)
RESIDUALS = np.random.default_rng(1).normal(0, 0.05, 40)


def scores(lam: float) -> dict[str, np.ndarray]:
    """The score has its maximum near 0.7; the guard falls linearly by 0.2, another one rises."""
    return {
        "score": -((lam - 0.7) ** 2) + EFFECTS + lam * RESIDUALS,
        "guard": 1.0 - 0.2 * lam + 0.1 * EFFECTS + 0.1 * lam * RESIDUALS,
        "rising": 0.1 * lam + EFFECTS,
    }


LEVEL = scores(0.0)["guard"].mean()


def test_other_rewards_are_reported_with_their_gain_over_the_reference(shown: Shown) -> None:
    result = lamsearch.search(scores, budget=8)
    plain = lamsearch.search(lambda lam: scores(lam)["score"], budget=8)
    assert [e.lam for e in result.evaluations] == [e.lam for e in plain.evaluations]
    assert result.lam == plain.lam
    for row in result.evaluations:
        assert row.others["guard"] == pytest.approx(scores(row.lam)["guard"].mean())
    guard, rising = result.others
    truth = scores(result.lam)["guard"].mean() - scores(0.0)["guard"].mean()
    assert guard.value == pytest.approx(scores(result.lam)["guard"].mean(), abs=1e-3)
    assert guard.gain is not None
    assert guard.gain.value == pytest.approx(truth, abs=1e-3)
    assert guard.gain.interval[0] < truth < guard.gain.interval[1]
    assert guard.falls
    assert not rising.falls
    text = shown(result)
    assert "guard falls at λ*" in text
    assert "rising falls" not in text
    assert "guard at λ*" in text


def test_few_images_are_said_to_be_few(shown: Shown) -> None:
    few = lamsearch.search(lambda lam: scores(lam)["score"][:20], budget=4)
    assert "few images (20 at some λ): below 32" in shown(few)
    assert "few images" not in shown(lamsearch.search(lambda lam: scores(lam)["score"], budget=4))
    assert "few images" not in shown(lamsearch.search(lambda lam: -lam, budget=4))


def test_the_json_has_them() -> None:
    answer = json.loads(json.dumps(lamsearch.search(scores, budget=4).to_json(), allow_nan=False))
    assert set(answer["evaluations"][0]["others"]) == {"guard", "rising"}
    assert set(answer["others"][0]) == {"name", "value", "stderr", "gain"}
    assert set(answer["others"][0]["gain"]) == {"value", "stderr", "interval"}
    assert answer["constraint"] is answer["confirmation"] is None


def test_where_lam_0_is_out_of_bounds_there_is_no_gain(shown: Shown) -> None:
    result = lamsearch.search(scores, budget=4, bounds=(0.5, 1.0))
    assert [other.gain for other in result.others] == [None, None]
    assert "against the reference" not in shown(result)


def test_a_reward_without_scores_at_some_lam_has_none_there() -> None:
    def now_and_then(lam: float) -> dict[str, object]:
        return {
            **scores(lam),
            "guard": np.full(40, np.nan) if lam == 1 else scores(lam)["guard"],
            "never": np.full(40, np.nan),
        }

    result = lamsearch.search(now_and_then, budget=5)
    by_lam = {row.lam: row.others for row in result.evaluations}
    assert by_lam[1.0]["guard"] is None
    assert by_lam[0.0]["guard"] == pytest.approx(scores(0.0)["guard"].mean())
    assert by_lam[0.0]["never"] is None
    assert [other.name for other in result.others] == ["guard", "rising"]


def test_plain_numbers_by_name() -> None:
    result = lamsearch.search(
        lambda lam: {"score": -((lam - 0.3) ** 2), "guard": 1 - lam}, budget=8
    )
    assert result.lam == pytest.approx(0.3, abs=0.05)
    assert result.others[0].value == pytest.approx(1 - result.lam, abs=0.02)


@pytest.mark.parametrize(
    ("constraint", "least"),
    [
        ("guard >= -8% of reference", 0.92 * LEVEL),
        ("guard >= reference - 0.08", LEVEL - 0.08),
        ("guard >= 0.9", 0.9),
    ],
)
def test_a_constraint_keeps_the_answer_where_the_guard_holds(
    constraint: str, least: float, shown: Shown
) -> None:
    result = lamsearch.search(scores, budget=10, constraint=constraint)
    assert scores(result.lam)["guard"].mean() >= least
    assert result.lam < lamsearch.search(scores, budget=10).lam - 0.1
    assert result.constraint is not None
    assert result.constraint.met
    assert f"{constraint}: holds at λ*" in shown(result)


def test_the_search_looks_where_the_constraint_holds() -> None:
    def noisy(lam: float) -> dict[str, np.ndarray]:
        draws = np.random.default_rng(round(lam * 1e6)).normal(0, 0.1, 40)
        rows = scores(lam)
        return {**rows, "score": rows["score"] + draws, "guard": rows["guard"] - draws / 5}

    middles = {}
    for constraint in (None, "guard >= reference - 0.08"):
        result = lamsearch.search(noisy, budget=12, constraint=constraint, acquisition="ei")
        middles[constraint] = np.median([e.lam for e in result.evaluations if e.number >= 4])
    assert middles["guard >= reference - 0.08"] < 0.45 < middles[None]


def test_a_constraint_that_holds_nowhere_is_said_so(shown: Shown) -> None:
    result = lamsearch.search(scores, budget=6, constraint="guard >= 1.3")
    assert result.constraint is not None
    assert not result.constraint.met
    assert result.lam < 0.1
    assert "λ* is the most probable" in shown(result)


def test_a_kill_and_a_resume_keep_the_others_and_the_constraint(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    options = {"budget": 7, "constraint": "guard >= reference - 0.08", "confidence": 0.9}
    whole = lamsearch.search(scores, **options)
    calls = []

    def dies(lam: float) -> dict[str, np.ndarray]:
        calls.append(lam)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return scores(lam)

    with pytest.raises(KeyboardInterrupt):
        lamsearch.search(dies, **options, storage=url, study="x")
    resumed = lamsearch.search(dies, **options, storage=url, study="x")
    assert [e.others for e in resumed.evaluations] == [e.others for e in whole.evaluations]
    assert (resumed.lam, resumed.constraint) == (whole.lam, whole.constraint)
    assert resumed.others == whole.others
    for e in finished("x", url):
        np.testing.assert_array_equal(e.tracked_row("guard"), scores(e.lam)["guard"])
    with pytest.raises(StudyError, match=r"confidence was 0.9, is 0.95"):
        lamsearch.search(scores, **{**options, "confidence": 0.95}, storage=url, study="x")
    with pytest.raises(StudyError, match=r"constraint was 'guard >= reference - 0.08', is None"):
        lamsearch.search(scores, budget=7, storage=url, study="x")


def test_wrong_constraints_are_one_clear_line() -> None:
    for wrong, message in (
        ({"constraint": "guard <= 1"}, "constraint 'guard <= 1' given, expected"),
        ({"constraint": "score >= 1"}, "'score >= 1' is on what is optimised"),
        ({"constraint": "guard >= reference", "bounds": (0.5, 1)}, "which the bounds 0.5 1 leave"),
        ({"constraint": "guard >= 1", "confidence": 1.0}, "confidence 1 given, expected 0 < P < 1"),
    ):
        with pytest.raises(SettingsError, match=message):
            lamsearch.search(scores, **wrong)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ({"guard": 1.0}, "returned guard: expected 'score' with them"),
        ({}, "returned nothing: expected 'score'"),
        ({"score": 1.0, "rising": 1.0}, "returned score, rising: expected 'guard' with them"),
        ({"score": [1.0, 2.0], "guard": 1.0}, "returned 1 scores of 'guard' for 2 images"),
        ({"score": 1.0, "guard": np.inf}, "1 infinite scores"),
    ],
)
def test_unusable_scores_by_name_are_one_clear_line(returned: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        lamsearch.search(lambda lam: returned, budget=2, constraint="guard >= 0")
