"""The alarm for reward hacking, on statistics whose onset is known."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from optuna.trial import TrialState

import lamsearch
from lamsearch.report.notes import onset_note
from lamsearch.report.onset import Onset, crossings, find_onset, find_shift
from lamsearch.report.summarize import summarize
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.records import Evaluation
from studies import begin

LAMS = np.linspace(0, 1, 9).tolist()
Rows = list[NDArray[np.float64]]


def drifting(seed: int, images: int, slope: float) -> Rows:
    """Images whose statistic moves by `slope` standard deviations on average from λ = 0 to 1."""
    generator = np.random.default_rng(seed)
    start = generator.normal(size=images)
    slopes = slope * generator.normal(1, 0.3, size=images)
    return [start + lam * slopes for lam in LAMS]


def evaluations(statistics: dict[str, Rows], tracked: dict[str, Rows], score: Rows) -> list:
    """Return the evaluations of LAMS with given rows."""
    return [
        Evaluation(
            number=j,
            lam=lam,
            state=TrialState.COMPLETE,
            scores=dict(enumerate(score[j].tolist())),
            seconds=1.0,
            tracked={name: dict(enumerate(rows[j].tolist())) for name, rows in tracked.items()},
            plan_size=len(score[j]),
            statistics={
                name: dict(enumerate(rows[j].tolist())) for name, rows in statistics.items()
            },
        )
        for j, lam in enumerate(LAMS)
    ]


def test_the_crossing_is_linear_between_lams() -> None:
    line = torch.tensor(LAMS, dtype=torch.float64)
    sizes = torch.stack([2.5 * line, 4 * line, 0.9 * line])
    assert crossings(line, sizes).tolist() == pytest.approx([0.4, 0.25, math.inf])


def test_a_curve_that_returns_crosses_where_it_first_does() -> None:
    line = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    sizes = torch.tensor([[0.0, 2.0, 0.0, 2.0, 3.0]], dtype=torch.float64)
    assert crossings(line, sizes).item() == pytest.approx(0.125)


def test_the_onset_is_found_and_its_interval_holds_as_often_as_stated() -> None:
    """The true one is at λ = 0.5, where the mean has moved by one standard deviation."""
    found = [find_shift("drift", LAMS, drifting(s, 64, 2.0), high=1.0) for s in range(100)]
    shifts = [shift for shift in found if shift is not None]
    assert len(shifts) == 100
    assert np.mean([shift.lam for shift in shifts]) == pytest.approx(0.5, abs=0.02)
    inside = [shift.interval[0] <= 0.5 <= shift.interval[1] for shift in shifts]
    assert np.mean(inside) >= 0.9
    assert np.mean([shift.largest for shift in shifts]) == pytest.approx(2.0, abs=0.1)


def test_the_interval_is_no_wider_than_it_need_be() -> None:
    shifts = [find_shift("drift", LAMS, drifting(s, 64, 2.0), high=1.0) for s in range(20)]
    widths = [shift.interval[1] - shift.interval[0] for shift in shifts if shift is not None]
    # The spread of 64 images is known within 9 %, which moves the crossing at 0.5 by 0.045.
    assert 2 * 1.96 * 0.045 * 0.8 < np.mean(widths) < 2 * 1.96 * 0.045 * 1.5


@pytest.mark.parametrize("slope", [0.0, 0.3, -0.3, 0.7])
def test_images_that_stay_within_the_range_raise_no_alarm(slope: float) -> None:
    found = [find_shift("drift", LAMS, drifting(s, 32, slope), high=1.0) for s in range(25)]
    assert found == [None] * 25


def test_a_fall_is_a_departure_unless_only_a_rise_counts() -> None:
    rows = drifting(0, 64, -3.0)
    shift = find_shift("drift", LAMS, rows, high=1.0)
    assert shift is not None
    assert shift.largest < -2
    assert find_shift("drift", LAMS, rows, high=1.0, upward=True) is None


def test_looking_at_several_statistics_widens_the_interval() -> None:
    alone, among = (
        find_shift("drift", LAMS, drifting(1, 64, 3.0), high=1.0, together=k) for k in (1, 10)
    )
    assert alone is not None
    assert among is not None
    assert among.lam == pytest.approx(alone.lam)
    assert among.interval[0] < alone.interval[0] < alone.interval[1] < among.interval[1]


def test_images_that_are_missing_at_some_lams_are_paired_where_they_are_there() -> None:
    """Half of the images are missing at every other λ: those with large values would bias it."""
    rows = drifting(2, 128, 2.0)
    large = rows[0] > 0
    for j in range(1, len(rows), 2):
        rows[j] = np.where(large, np.nan, rows[j])
    shift = find_shift("drift", LAMS, rows, high=1.0)
    assert shift is not None
    assert shift.lam == pytest.approx(0.5, abs=0.12)
    assert shift.interval[0] < 0.5 < shift.interval[1]


def test_without_a_reference_or_with_few_images_nothing_is_known() -> None:
    still = drifting(0, 64, 0.0)
    found = evaluations({"drift": drifting(0, 64, 3.0)}, {}, still)
    assert find_onset(found, bounds=(0.0, 1.0)) is not None
    assert find_onset(found[1:], bounds=(0.0, 1.0)) is None
    assert find_onset(found, bounds=(-1.0, 0.0)) is None
    few = evaluations({"drift": drifting(0, 7, 3.0)}, {}, drifting(0, 7, 0.0))
    assert find_onset(few, bounds=(0.0, 1.0)) is None
    assert find_onset(evaluations({}, {}, still), bounds=(0.0, 1.0)) is None


def test_the_first_statistic_is_the_onset_and_constant_ones_do_not_count() -> None:
    dark = [np.zeros(64) for _ in LAMS]
    early, late = drifting(1, 64, 4.0), drifting(2, 64, 2.0)
    score = drifting(3, 64, 0.0)
    found = find_onset(
        evaluations({"late": late, "dark": dark, "early": early}, {}, score), bounds=(0.0, 1.0)
    )
    assert found is not None
    assert [shift.name for shift in found.shifts] == ["early", "late"]
    assert (found.lam, found.interval) == (found.shifts[0].lam, found.shifts[0].interval)
    assert found.images == 64
    alone = find_onset(evaluations({"late": late, "early": early}, {}, score), bounds=(0.0, 1.0))
    assert found == alone


def test_dark_pixels_that_the_reference_lacks_altogether_leave_its_range() -> None:
    dark = [np.full(64, 0.4 * lam) + np.linspace(0, 0.01, 64) * lam for lam in LAMS]
    found = find_onset(evaluations({"dark": dark}, {}, drifting(3, 64, 0.0)), bounds=(0.0, 1.0))
    assert found is not None
    assert found.lam < 0.1


def test_rewards_that_part_raise_the_alarm_only_if_the_objective_outruns_the_other() -> None:
    rising, guard = drifting(4, 64, 4.0), drifting(5, 64, 0.0)
    outruns = evaluations({}, {"clip": guard}, rising)
    found = find_onset(outruns, bounds=(0.0, 1.0), objective="pickscore")
    assert found is not None
    assert found.shifts[0].name == "pickscore less clip"
    # Independent rewards differ by √2 of their spreads, which 4 λ reaches at λ = 0.35.
    assert found.lam == pytest.approx(2**0.5 / 4, abs=0.08)
    assert find_onset(evaluations({}, {"clip": rising}, guard), bounds=(0.0, 1.0)) is None
    together = evaluations({}, {"clip": rising}, [2 * row + 1 for row in rising])
    assert find_onset(together, bounds=(0.0, 1.0)) is None


def stored_search(name: str, storage: str, sign: float) -> Study:
    """A search whose score rises (or falls) with λ, with statistics that leave the range."""
    study = Study.create(name, storage)
    rng = np.random.default_rng(0)
    start = rng.normal(size=32)
    for _ in range(6):
        evaluation = begin(study, 6)
        assert evaluation is not None
        lam = evaluation.lam
        moved = (start + 4 * lam * rng.normal(1, 0.1, size=32)).tolist()
        score = (sign * lam + 0.1 * start).tolist()
        study.record(evaluation, Batch(range(32), score, statistics={"mean chroma": moved}))
        study.finish(evaluation)
    return study


def test_the_summary_marks_the_onset_while_the_reward_is_higher(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    summary = summarize(stored_search("rises", storage, 1.0))
    assert summary.onset is not None
    assert summary.onset.lam == pytest.approx(0.25, abs=0.1)
    assert "images_drift" in {note.code for note in summary.notes}
    assert json.loads(json.dumps(summary.to_json()))["onset"]["lam"] == summary.onset.lam
    assert {name for row in summary.evaluations for name in row.others} == set()
    assert summarize(stored_search("falls", storage, -1.0)).onset is None


def test_an_answer_before_the_onset_needs_no_note() -> None:
    summary = lamsearch.search(lambda lam: -((lam - 0.4) ** 2), budget=4)
    late = Onset(0.9, (0.8, 1.0), (), 8)
    assert summary.onset is None
    assert not list(onset_note(dataclasses.replace(summary, onset=late)))
    early = dataclasses.replace(late, lam=0.1, interval=(0.05, 0.2))
    assert list(onset_note(dataclasses.replace(summary, onset=early)))
