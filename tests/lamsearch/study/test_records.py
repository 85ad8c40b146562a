"""What a trial holds: batches of scores, of the objective and of tracked rewards."""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState

from lamsearch.errors import EvaluationError
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.history import merged
from lamsearch.study.records import Evaluation
from studies import begin


def test_tracked_rewards_are_stored_with_their_batch(tmp_path: Path) -> None:
    study = Study.create("s", f"sqlite:///{tmp_path}/s.db")
    evaluation = begin(study, 1)
    assert evaluation is not None
    study.record(evaluation, Batch([2, 3], [0.5, 0.1], tracked={"clip": [math.nan, 0.25]}))
    study.record(evaluation, Batch([0], [0.7], tracked={"clip": [0.5], "hps": [1.0]}))
    with pytest.raises(EvaluationError, match="an infinite score at lam = 0"):
        study.record(evaluation, Batch([4], [0.5], tracked={"clip": [math.inf]}))
    finished = study.finish(evaluation)
    assert finished.tracked["hps"] == {0: 1.0}
    np.testing.assert_array_equal(finished.row, [0.7, np.nan, 0.5, 0.1])
    np.testing.assert_array_equal(finished.tracked_row("clip"), [0.5, np.nan, np.nan, 0.25])
    assert np.isnan(finished.tracked_row("absent")).tolist() == [True] * 4
    rows = sqlite3.connect(tmp_path / "s.db").execute(
        "SELECT value_json FROM trial_user_attributes WHERE key = 'scores:000002'"
    )
    assert json.loads(rows.fetchone()[0])["others"] == {"clip": [None, 0.25]}


def evaluated(number: int, lam: float, images: range, **tracked: float) -> Evaluation:
    return Evaluation(
        number,
        lam,
        TrialState.COMPLETE if number else TrialState.RUNNING,
        dict.fromkeys(images, number / 10),
        seconds=number + 0.5,
        tracked={name: dict.fromkeys(images, score) for name, score in tracked.items()},
    )


def test_other_images_of_a_lam_join_its_first_evaluation() -> None:
    first = evaluated(0, 0.25, range(2), clip=0.5)
    other = evaluated(1, 0.75, range(2))
    second = evaluated(2, 0.25, range(2, 4), clip=0.75, hps=1.0)
    third = evaluated(3, 0.25, range(4, 5), hps=2.0)
    joined, alone = merged([third, second, other, first])
    assert alone is other
    assert (joined.number, joined.lam, joined.state) == (0, 0.25, TrialState.RUNNING)
    np.testing.assert_array_equal(joined.row, [0, 0, 0.2, 0.2, 0.3])
    assert joined.seconds == 0.5 + 2.5 + 3.5
    np.testing.assert_array_equal(joined.tracked_row("clip"), [0.5, 0.5, 0.75, 0.75, np.nan])
    assert joined.tracked["hps"] == {2: 1.0, 3: 1.0, 4: 2.0}
    assert first.scores.keys() == {0, 1}
    assert merged([joined, alone]) == [joined, alone]


def test_repeated_images_and_close_lams_are_left_alone() -> None:
    evaluations = [
        evaluated(1, 0.25, range(2)),
        evaluated(2, 0.25, range(1, 3)),
        evaluated(3, 0.25 + 1e-12, range(2, 4)),
        evaluated(4, math.nan, range(1)),
        evaluated(5, math.nan, range(1, 2)),
    ]
    assert merged(evaluations) == evaluations
    assert merged([]) == []


def test_a_repetition_stands_beside_what_is_joined() -> None:
    rows = merged([evaluated(n, 0.25, i) for n, i in enumerate([range(2), range(2), range(2, 4)])])
    assert [(row.number, list(row.scores)) for row in rows] == [(0, [0, 1, 2, 3]), (1, [0, 1])]


def test_statistics_of_the_images_are_stored_beside_the_rewards(tmp_path: Path) -> None:
    study = Study.create("s", f"sqlite:///{tmp_path}/s.db")
    evaluation = begin(study, 1)
    assert evaluation is not None
    measured = {"mean chroma": [math.nan, 1 / 3], "sharpness": [2e-7 / 3, 0.5]}
    study.record(evaluation, Batch([2, 3], [0.5, 0.1], statistics=measured))
    study.record(evaluation, Batch([0], [0.7]))
    finished = study.finish(evaluation)
    assert finished.tracked == {}
    np.testing.assert_array_equal(
        finished.statistic_row("mean chroma"), [np.nan, np.nan, np.nan, 0.333333]
    )
    np.testing.assert_array_equal(
        finished.statistic_row("sharpness"), [np.nan, np.nan, 6.66667e-08, 0.5]
    )
    assert np.isnan(finished.statistic_row("absent")).all()
    (again,) = merged([finished])
    assert again.statistics == finished.statistics


def test_a_batch_without_statistics_is_stored_as_by_earlier_versions() -> None:
    stored = Batch([1], [0.5], 2.0, {"clip": [0.25]}, 8).to_json()
    assert stored.keys() == {"image_ids", "scores", "seconds", "of", "others"}
    assert Batch.from_json(stored).statistics == {}


@pytest.mark.parametrize("given", [[1.0], {"sharpness": [1.0, 2.0]}, {"sharpness": ["a"]}, 3])
def test_damaged_statistics_are_refused(given: object) -> None:
    good = Batch([1], [0.5], statistics={"sharpness": [1.0]}).to_json()
    assert Batch.from_json(good).statistics == {"sharpness": [1.0]}
    with pytest.raises(ValueError, match=r"statistics is no table|scores"):
        Batch.from_json({**good, "statistics": given})


def test_statistics_of_joined_evaluations_join() -> None:
    one, two = (
        dataclasses.replace(
            evaluated(n, 0.5, ids), statistics={"dark pixels": dict.fromkeys(ids, n)}
        )
        for n, ids in ((1, range(2)), (2, range(2, 4)))
    )
    (joined,) = merged([one, two])
    np.testing.assert_array_equal(joined.statistic_row("dark pixels"), [1, 1, 2, 2])
