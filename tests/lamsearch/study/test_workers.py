"""Several workers on one study: real processes on SQLite, threads in memory."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import FrozenTrial, TrialState

import lamsearch.study.leases
from lamsearch import LamSampler
from lamsearch.bayesopt.acquisition import CLEARANCE
from lamsearch.report.summary import Summary, summarize
from lamsearch.study.database import Batch, Study
from lamsearch.study.leases import Leases
from lamsearch.study.storage import open_storage

PROCESSES = multiprocessing.get_context("forkserver")
# Once for all workers.
PROCESSES.set_forkserver_preload(["lamsearch.bayesopt.optuna_sampler", "lamsearch.study.database"])


class Steps(LamSampler):
    """Proposes 0.01 more than the largest λ there is, slowly: a race would repeat a λ."""

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, *_: Any) -> float:
        taken = [t.params["lam"] for t in study.get_trials(deepcopy=False) if t.params]
        time.sleep(random.uniform(0, 0.02))
        return round(max(taken, default=0) + 0.01, 2)


class Stuck(LamSampler):
    """Never comes to propose."""

    def __init__(self, proposing: Event) -> None:
        super().__init__()
        self._proposing = proposing

    def sample_independent(self, *_: Any) -> float:
        self._proposing.set()
        time.sleep(600)
        return 0.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def work(study: Study, budget: int) -> None:
    while (evaluation := study.next_evaluation(budget)) is not None:
        time.sleep(random.uniform(0, 0.05))
        study.record(evaluation, Batch([0], [-((evaluation.lam - 0.6) ** 2)]))
        study.finish(evaluation)


def work_in_turn(url: str, studies: list[tuple[str, LamSampler]], together: Barrier) -> None:
    torch.set_num_threads(1)
    for name, sampler in studies:
        together.wait(120)
        work(Study(name, url, sampler=sampler), 9)


def assert_exactly(budget: int, trials: list[FrozenTrial]) -> None:
    assert [t.state for t in trials] == [TrialState.COMPLETE] * budget
    lams = sorted(t.params["lam"] for t in trials)
    assert min(b - a for a, b in itertools.pairwise(lams)) >= CLEARANCE - 1e-6


def test_processes_share_the_budget_and_no_lam(url: str) -> None:
    together = PROCESSES.Barrier(4)
    steps = [(f"steps{number}", Steps()) for number in range(3)]
    searches = [(f"search{seed}", LamSampler(seed, "ucb")) for seed in range(2)]
    arguments = (url, [*steps, *searches], together)
    workers = [PROCESSES.Process(target=work_in_turn, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 4
    for name, _ in (*steps, *searches):
        assert_exactly(9, optuna.load_study(study_name=name, storage=url).trials)


@pytest.mark.parametrize("in_memory", [True, False])
def test_threads_share_the_budget_and_no_lam(url: str, in_memory: bool) -> None:
    study = Study("s", None if in_memory else url, sampler=Steps())
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(work, study, 12) for _ in range(4)]:
            future.result()
    assert_exactly(12, study._study.trials)


def be_stuck(url: str, proposing: Event, elsewhere: bool) -> None:
    study = Study("s", url, sampler=Stuck(proposing))
    if elsewhere:
        lamsearch.study.leases.LEASE_SECONDS = 4.0
        study._turns._host = study._leases._host = "elsewhere"
    study.next_evaluation(3)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_turn_of_a_killed_worker_ends_and_its_trial_goes_on(url: str, elsewhere: bool) -> None:
    study = Study("s", url, sampler=Steps())
    proposing = PROCESSES.Event()
    worker = PROCESSES.Process(target=be_stuck, args=(url, proposing, elsewhere))
    worker.start()
    assert proposing.wait(120)
    stuck = study._study.trials
    assert [(t.state, t.params) for t in stuck] == [(TrialState.RUNNING, {})]
    assert not study._turns.claim(study._study._study_id)
    kill(worker)
    began = time.monotonic()
    work(study, 3)
    # On this machine it is seen at once that the owner is gone; elsewhere its lease must end.
    assert (time.monotonic() - began > 2) == elsewhere
    assert_exactly(3, study._study.trials)
    assert {t.params["lam"] for t in study._study.trials} == {0.01, 0.02, 0.03}


def kill(worker: BaseProcess) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def test_a_worker_leaves_when_the_rest_is_in_other_hands(url: str) -> None:
    first, second = (Study("s", url, sampler=Steps()) for _ in range(2))
    evaluation = first.next_evaluation(1)
    assert evaluation is not None
    assert second.next_evaluation(1) is None
    assert first.next_evaluation(1) is None
    first.release(evaluation)
    assert second.next_evaluation(1) == evaluation


def test_an_answer_says_that_evaluations_are_not_finished(
    shown: Callable[[Summary], str],
) -> None:
    study = Study("s", None, sampler=Steps())
    work(study, 2)
    begun = study.next_evaluation(3)
    assert begun is not None
    before = summarize(study)
    assert (len(before.evaluations), before.unfinished) == (2, 1)
    assert "1 more under way or interrupted" in shown(before)
    study.release(begun)
    work(study, 3)
    after = summarize(study)
    assert (len(after.evaluations), after.unfinished) == (3, 0)
    assert "under way" not in shown(after)


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").is_file(), reason="Linux only")
def test_machines_of_one_name_do_not_take_each_other_for_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clones of a machine share its name and the number of their first process namespace."""
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path: "other" if path.name == "boot_id" else read(path)
    )
    elsewhere = Leases(open_storage(url))
    monkeypatch.setattr(os, "getpid", lambda: 2**22)  # no process has this number here
    assert elsewhere.claim(7)
    monkeypatch.undo()
    assert not Leases(open_storage(url)).claim(7)


def test_a_smaller_budget_leaves_what_was_begun_beyond_it(url: str) -> None:
    study = Study("s", url, sampler=Steps())
    work(study, 2)
    begun = study.next_evaluation(3)
    assert begun is not None
    study.release(begun)
    assert study.next_evaluation(2) is None
    assert study.next_evaluation(3) == begun


def test_a_failed_proposal_gives_its_trial_back(url: str) -> None:
    class Fails(LamSampler):
        def sample_independent(self, *_: Any) -> float:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Study("s", url, sampler=Fails()).next_evaluation(1)
    again = Study("s", url, sampler=Steps()).next_evaluation(1)
    assert again is not None
    assert (again.number, again.lam) == (0, 0.01)


def test_turns_exclude_each_other(url: str) -> None:
    inside: list[int] = []

    def enter(leases: Leases) -> None:
        for _ in range(10):
            with leases.turn(1):
                inside.append(1)
                assert len(inside) == 1
                time.sleep(0.002)
                inside.pop()

    storage = open_storage(url)
    shared = Leases(storage, "study")
    with ThreadPoolExecutor(4) as threads:
        users = [shared, shared, Leases(storage, "study"), Leases(open_storage(url), "study")]
        for future in [threads.submit(enter, user) for user in users]:
            future.result()
    assert Leases(storage, "trial").claim(1)
    assert shared.claim(1)


def test_a_heartbeat_does_not_bring_back_a_lease_that_was_given_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamsearch.study.leases._HEARTBEAT_SECONDS", 0.001)
    one, other = Leases(open_storage(url)), Leases(open_storage(url))
    for _ in range(30):
        assert one.claim(1)
        time.sleep(random.uniform(0, 0.01))
        one.release(1)
        assert other.claim(1)
        other.release(1)


def test_plain_scripts_may_run_in_threads() -> None:
    study = optuna.create_study(sampler=LamSampler(acquisition="ucb"), direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        lam = trial.suggest_float("lam", 0, 1)
        time.sleep(random.uniform(0, 0.01))
        return -((lam - 0.6) ** 2)

    study.optimize(objective, n_trials=9, n_jobs=3)
    assert_exactly(9, study.trials)
