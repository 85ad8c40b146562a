"""The study database: nothing scored is lost, no trial is worked on twice."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState, create_trial

from lamsearch.errors import EvaluationError, NoScoreError, StudyError, TakenOverError
from lamsearch.loop import search_loop
from lamsearch.report.summarize import summarize
from lamsearch.study import leases
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.history import History
from lamsearch.study.leases import LEASE_SECONDS, LeaseLostError, Leases
from lamsearch.study.proposal import Budget, Proposal
from lamsearch.study.records import Evaluation
from lamsearch.study.storage import open_storage
from lamsearch.study.urls import redacted_url
from studies import SEARCH, begin


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/deep/studies.db"


def opened(url: str | None) -> Study:
    return Study.create("s", url)


def test_sqlite_is_opened_safely(url: str, tmp_path: Path) -> None:
    storage = open_storage(url)
    with storage.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2, "busy_timeout": 60_000}
        # A transaction that has only read holds the write lock already: BEGIN IMMEDIATE.
        connection.exec_driver_sql("SELECT 1")
        other = sqlite3.connect(tmp_path / "deep" / "studies.db", timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    storage.engine.dispose()


@pytest.mark.parametrize("in_memory", [True, False])
def test_batches_are_there_as_soon_as_they_are_recorded(url: str, in_memory: bool) -> None:
    study = opened(None if in_memory else url)
    evaluation = begin(study, 2)
    assert evaluation is not None
    assert evaluation.lam == 0.0
    study.record(evaluation, Batch([0, 1], [0.5, math.nan], 1.5))
    study.release(evaluation)
    study = study if in_memory else opened(url)
    again = begin(study, 2)
    assert again is not None
    assert (again.number, again.lam, again.seconds) == (0, 0.0, 1.5)
    assert again.scores[0] == 0.5
    assert math.isnan(again.scores[1])
    study.record(again, Batch([3, 2], [1.0, 0.25]))
    finished = study.finish(again)
    assert finished.row.tolist()[::2] == [0.5, 0.25]
    assert finished.state == TrialState.COMPLETE
    assert [e.number for e in study.history().finished] == [0]


def test_scores_come_back_exactly(url: str) -> None:
    study = opened(url)
    evaluation = begin(study, 1)
    assert evaluation is not None
    scores = [1 / 3, 0.1, 2**-40, 1e30]
    study.record(evaluation, Batch(range(4), scores))
    assert study.finish(evaluation).row.tolist() == scores


@pytest.mark.slow
def test_a_living_owner_keeps_its_trial_and_a_dead_ones_is_continued(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    ready, hold = context.Event(), context.Event()
    worker = context.Process(target=work_and_wait, args=(url, ready, hold))
    worker.start()
    assert ready.wait(60)
    study = opened(url)
    mine = begin(study, 3)
    assert mine is not None
    assert mine.number == 1
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    dead = begin(study, 3)
    assert dead is not None
    assert (dead.number, dead.lam, dead.scores) == (0, 0.0, {7: 0.25})


def work_and_wait(url: str, ready: object, hold: object) -> None:
    study = opened(url)
    evaluation = begin(study, 3)
    assert evaluation is not None
    study.record(evaluation, Batch([7], [0.25]))
    ready.set()
    hold.wait()


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the database's clock jump."""
    now = leases._now
    monkeypatch.setattr("lamsearch.study.leases._now", lambda engine: now(engine) + seconds)


def elsewhere(worker: Leases) -> Leases:
    """Return the leases of a worker as if it were on another machine."""
    worker._host = "elsewhere"
    return worker


def test_an_expired_lease_can_be_taken_and_its_owner_notices(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = open_storage(url)
    slow, other = elsewhere(Leases(storage)), Leases(open_storage(url))
    assert slow.claim(1)
    assert not slow.claim(1)
    assert not other.claim(1)
    with monkeypatch.context() as patch:
        later(patch, LEASE_SECONDS + 1)
        assert other.claim(1)
    for _ in range(2):
        with pytest.raises(LeaseLostError), slow.fenced(1):
            storage.create_new_study([StudyDirection.MAXIMIZE], "late")
    assert storage.get_all_studies() == []
    slow.release(1)
    assert other.is_leased(1)


@pytest.mark.parametrize("jump", [-1e6, 1e6])
def test_a_clock_that_jumps_takes_no_lease_from_a_process_of_this_machine(
    url: str, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = Leases(open_storage(url)), Leases(open_storage(url))
    assert worker.claim(1)
    later(monkeypatch, jump)
    assert not other.claim(1)
    assert other.is_leased(1)


def test_a_process_id_that_is_used_again_is_not_its_former_owner(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("lamsearch.study.leases.start_time", lambda pid: 1)
        assert Leases(open_storage(url)).claim(1)
    assert Leases(open_storage(url)).claim(1)


def test_a_silent_worker_keeps_its_lease(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamsearch.study.leases.LEASE_SECONDS", 0.6)
    monkeypatch.setattr("lamsearch.study.leases._HEARTBEAT_SECONDS", 0.1)
    silent, other = elsewhere(Leases(open_storage(url))), Leases(open_storage(url))
    assert silent.claim(1)
    time.sleep(1.5)
    assert not other.claim(1)
    silent.release(1)
    assert other.claim(1)
    other.release(1)


def test_a_trial_that_was_finished_meanwhile_is_left_alone(url: str) -> None:
    first, second = opened(url), opened(url)
    evaluation = begin(first, 1)
    assert evaluation is not None
    stale = second.history().running
    first.record(evaluation, Batch([0], [0.5]))
    first.finish(evaluation)
    assert not second._trials.take(stale[0])
    assert begin(second, 1) is None


def test_an_infinite_score_is_not_recorded(url: str) -> None:
    study = opened(url)
    evaluation = begin(study, 1)
    assert evaluation is not None
    with pytest.raises(EvaluationError, match="an infinite score at lam = 0"):
        study.record(evaluation, Batch([0, 1], [0.5, math.inf]))
    study.record(evaluation, Batch([0, 1], [0.5, 0.7]))
    assert study.finish(evaluation).row.tolist() == [0.5, 0.7]


def test_storages_in_memory_and_passwords(tmp_path: Path) -> None:
    for url in (None, "sqlite://", "sqlite:///:memory:"):
        assert begin(Study.create("s", url), 1) is not None
    assert redacted_url("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert redacted_url(None) is None


def test_another_manifest_is_refused_with_the_difference(url: str) -> None:
    opened(url).bind({"seed": 0, "plan": "abc", "bounds": (0.0, 1.0)})
    opened(url).bind({"seed": 0, "plan": "abc", "bounds": (0.0, 1.0)})
    with pytest.raises(StudyError, match=r"plan was 'abc', is 'xyz'.*--study") as error:
        opened(url).bind({"seed": 0, "plan": "xyz", "bounds": (0.0, 1.0)})
    assert "seed" not in str(error.value)


def test_an_evaluation_without_usable_images_is_tried_twice_and_fails(url: str) -> None:
    study = opened(url)
    evaluation = begin(study, 2)
    assert evaluation is not None
    study.record(evaluation, Batch([0, 1, 2], [math.nan, math.nan, 0.5]))
    again = study.finish(evaluation)
    assert (again.state, again.attempt, again.scores) == (TrialState.RUNNING, 1, {})
    study.release(again)
    study = opened(url)
    resumed = begin(study, 2)
    assert resumed == again
    study.record(resumed, Batch([0, 1], [math.nan, math.nan]))
    study.record(resumed, Batch([2], [0.5]))
    with pytest.raises(NoScoreError, match=r"at lam = 0: 2 of 3 scores are missing, 2 times"):
        study.finish(resumed)
    following = begin(study, 2)
    assert following is not None
    assert (following.number, following.lam) == (1, 1.0)
    assert [each.reason for each in study.history().failed] == [
        "2 of 3 scores are missing, 2 times"
    ]


def test_a_second_try_counts_where_it_was_scored(url: str) -> None:
    study = opened(url)
    evaluation = begin(study, 2)
    assert evaluation is not None
    study.record(evaluation, Batch(range(4), [math.nan, math.nan, math.nan, 0.5]))
    again = study.finish(evaluation)
    study.record(again, Batch([0, 1], [0.1, 0.2]))
    study.record(again, Batch([2, 3], [math.nan, 0.4]))
    ended = study.finish(again)
    assert ended.state == TrialState.COMPLETE
    np.testing.assert_array_equal(ended.row, [0.1, 0.2, math.nan, 0.4])
    assert optuna.load_study(study_name="s", storage=url).trials[0].value == pytest.approx(0.7 / 3)


def test_an_evaluation_that_cannot_be_scored_is_ended_with_its_reason(url: str) -> None:
    study = opened(url)

    class NoMixture:
        def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
            raise NoScoreError("no mixture at lam = 0", 0.0)

    for _ in range(2):
        with pytest.raises(NoScoreError, match="no mixture"):
            search_loop(study, NoMixture(), policy=FixedLams([0.0], 4), budget=Budget())
    assert [e.reason for e in study.history().failed] == ["no mixture at lam = 0"] * 2


def test_a_worker_that_was_paused_cannot_write_afterwards(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused, other = opened(url), opened(url)
    elsewhere(paused._trials._leases)
    mine = begin(paused, 1)
    assert mine is not None
    paused.record(mine, Batch([0], [0.1]))
    with monkeypatch.context() as patch:
        later(patch, LEASE_SECONDS + 1)
        theirs = begin(other, 1)
    assert theirs is not None
    assert (theirs.number, theirs.scores) == (0, {0: 0.1})
    for late in (
        lambda: paused.record(mine, Batch([0, 1], [9.0, 9.0])),
        lambda: paused.finish(mine),
        lambda: paused.fail(mine, "late"),
    ):
        with pytest.raises(TakenOverError, match=r"another worker has taken .* of study 's' over"):
            late()
    other.record(theirs, Batch([1], [0.3]))
    paused.release(mine)
    assert other.finish(theirs).scores == {0: 0.1, 1: 0.3}
    with pytest.raises(TakenOverError):
        paused.finish(mine)


def test_the_loop_of_a_worker_that_was_paused_goes_on_with_other_evaluations(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused, other = opened(url), opened(url)
    elsewhere(paused._trials._leases)
    taken = []

    class PausedOnce:
        def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
            if not taken:
                with monkeypatch.context() as patch:
                    later(patch, LEASE_SECONDS + 1)
                    taken.append(begin(other, 3))
            yield Batch([0], [evaluation.lam])

    search_loop(paused, PausedOnce(), policy=SEARCH, budget=Budget(3))
    assert [e.number for e in paused.history().finished] == [1, 2]
    assert taken[0] is not None
    other.record(taken[0], Batch([0], [0.0]))
    assert other.finish(taken[0]).state == TrialState.COMPLETE


def test_missing_images_at_a_lam_that_has_others_are_no_failure_of_the_search(url: str) -> None:
    study = opened(url)
    ranges = [(0, 2), (2, 3), (3, 5)]
    states = []
    lefts = []
    for images, scores in zip(ranges, ([0.1, math.nan], [math.nan], [0.2, 0.3]), strict=True):

        def policy(history: History, images: tuple[int, int] = images) -> Proposal:
            lefts.append(history.left)
            return Proposal(0.5, (images,))

        evaluation = begin(study, Budget(5, counts_images=True), policy)
        assert evaluation is not None
        while not evaluation.state.is_finished():
            study.record(evaluation, Batch(range(*images), scores))
            evaluation = study.finish(evaluation)
        states.append(evaluation.state)
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert lefts == [5, 3, 2]  # they were made all the same
    assert [e.scores.keys() for e in study.history().finished] == [{0, 1}, {3, 4}]


def test_studies_of_something_else_are_refused(url: str) -> None:
    opened(url)
    optuna.create_study(study_name="down", storage=url, direction="minimize")
    optuna.create_study(study_name="two", storage=url, directions=["maximize", "maximize"])
    for name in ("down", "two"):
        for open_ in (Study.open, Study.create):
            with pytest.raises(
                StudyError, match=f"study '{name}' in .* does not maximise one value"
            ):
                open_(name, url)
    other = optuna.create_study(study_name="other", storage=url, direction="maximize")
    other.optimize(lambda trial: trial.suggest_float("rate", 0, 1), n_trials=1)
    with pytest.raises(StudyError, match="'other' has rate in trial 0, expected a number 'lam'"):
        Study.open("other", url).history()


def test_a_study_of_another_program_is_read_in_its_own_range(url: str) -> None:
    opened(url)
    wide = optuna.create_study(study_name="wide", storage=url, direction="maximize")
    wider = FloatDistribution(-9, 9)
    wide.add_trial(create_trial(params={"lam": -8}, distributions={"lam": wider}, value=7.0))
    for lam in (0, 0.5, 1, 1.5, 2, 1.2):
        wide.enqueue_trial({"lam": lam})

    def value(trial: Trial) -> float:
        lam = trial.suggest_float("lam", 0, 2)
        return math.inf if lam == 1.2 else -((lam - 1.6) ** 2)

    wide.optimize(value, n_trials=6)
    answer = summarize(Study.open("wide", url))
    assert answer.lam == pytest.approx(1.6, abs=0.05)
    assert sorted(e.lam for e in answer.evaluations) == [0, 0.5, 1, 1.5, 2]
    assert "no_manifest" in {note.code for note in answer.notes}


def test_absent_studies_and_storages_are_one_clear_line(url: str, tmp_path: Path) -> None:
    opened(url)
    with pytest.raises(StudyError, match=r"no study 'x' in .*: it has s$"):
        Study.open("x", url)
    for bad in ("nonsense://x", "sqlite:////proc/no/studies.db"):
        with pytest.raises(StudyError, match="cannot be opened") as error:
            opened(bad)
        assert "\n" not in str(error.value)


def test_reading_creates_no_database(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        StudyError, match=r"storage sqlite:.*studies.db does not exist: .*--storage"
    ):
        Study.open("s", url)
    assert not list(tmp_path.iterdir())
    opened(url)
    assert Study.open("s", url).history().finished == []


def test_user_attributes_are_plain_json(url: str, tmp_path: Path) -> None:
    study = opened(url)
    evaluation = begin(study, 1)
    assert evaluation is not None
    study.record(evaluation, Batch([2, 3], [0.5, math.nan], 2.0))
    rows = sqlite3.connect(tmp_path / "deep" / "studies.db").execute(
        "SELECT key, value_json FROM trial_user_attributes"
    )
    stored = {key: json.loads(value) for key, value in rows}
    assert stored == {"scores:000002": {"image_ids": [2, 3], "scores": [0.5, None], "seconds": 2.0}}
