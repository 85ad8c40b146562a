"""Several workers on one study: real processes on SQLite, threads in memory."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from lamsearch import LamSampler
from lamsearch.bayesopt.acquisition import CLEARANCE
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import AllocationPolicy, SearchPolicy
from lamsearch.report.summarize import summarize
from lamsearch.report.summary import Summary
from lamsearch.study import leases
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.history import History
from lamsearch.study.leases import LEASE_SECONDS, Leases
from lamsearch.study.proposal import Budget, Policy, Proposal
from lamsearch.study.storage import open_storage
from studies import begin
from warm_processes import PROCESSES


class Steps:
    """Proposes 0.01 more than the largest λ there is, slowly: a race would repeat a λ."""

    def __call__(self, history: History) -> Proposal:
        taken = [each.lam for each in history.evaluations]
        time.sleep(random.uniform(0, 0.02))
        return Proposal(round(max(taken, default=0) + 0.01, 2))

    def images_at(self, lam: float, history: History) -> None:
        return None


steps = Steps()


class Stuck:
    """Never comes to propose."""

    def __init__(self, proposing: Event) -> None:
        self._proposing = proposing

    def __call__(self, history: History) -> Proposal:
        self._proposing.set()
        time.sleep(600)
        return Proposal(0.0)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/studies.db"


def work(study: Study, budget: int, policy: Policy = steps) -> None:
    while (evaluation := begin(study, budget, policy)) is not None:
        time.sleep(random.uniform(0, 0.05))
        study.record(evaluation, Batch([0], [-((evaluation.lam - 0.6) ** 2)]))
        study.finish(evaluation)


def work_in_turn(url: str, studies: list[tuple[str, Policy]], together: Barrier) -> None:
    for name, policy in studies:
        together.wait(120)
        work(Study.create(name, url), 9, policy)


def assert_exactly(budget: int, trials: list[FrozenTrial]) -> None:
    assert [t.state for t in trials] == [TrialState.COMPLETE] * budget
    lams = sorted(t.params["lam"] for t in trials)
    assert min(b - a for a, b in itertools.pairwise(lams)) >= CLEARANCE - 1e-6


@pytest.mark.slow
def test_processes_share_the_budget_and_no_lam(url: str) -> None:
    together = PROCESSES.Barrier(4)
    stepping = [(f"steps{number}", steps) for number in range(2)]
    searches = [
        (f"search{seed}", SearchPolicy(SearchConfig(seed=seed, acquisition="ucb")))
        for seed in range(2)
    ]
    arguments = (url, [*stepping, *searches], together)
    workers = [PROCESSES.Process(target=work_in_turn, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * 4
    for name, _ in (*stepping, *searches):
        assert_exactly(9, optuna.load_study(study_name=name, storage=url).trials)


@pytest.mark.parametrize("in_memory", [True, False])
def test_threads_share_the_budget_and_no_lam(url: str, in_memory: bool) -> None:
    study = Study.create("s", None if in_memory else url)
    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(work, study, 12) for _ in range(4)]:
            future.result()
    assert_exactly(12, study._study.trials)


def be_stuck(url: str, proposing: Event, elsewhere: bool) -> None:
    study = Study.create("s", url)
    if elsewhere:
        study._lock._host = "elsewhere"
    begin(study, 3, Stuck(proposing))


@pytest.mark.slow
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_lock_of_a_worker_killed_while_it_proposes_ends(
    url: str, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study.create("s", url)
    proposing = PROCESSES.Event()
    worker = PROCESSES.Process(target=be_stuck, args=(url, proposing, elsewhere))
    worker.start()
    assert proposing.wait(120)
    assert study._study.trials == []  # a trial is stored whole, or not at all
    assert not study._lock.claim(study._study._study_id)
    kill(worker)
    if elsewhere:  # only on this machine it is seen at once that the owner is gone
        assert not study._lock.claim(study._study._study_id)
        now = leases._now
        monkeypatch.setattr(leases, "_now", lambda engine: now(engine) + LEASE_SECONDS)
    work(study, 3)
    assert_exactly(3, study._study.trials)
    assert {t.params["lam"] for t in study._study.trials} == {0.01, 0.02, 0.03}


def kill(worker: BaseProcess) -> None:
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()


def test_a_worker_leaves_when_the_rest_is_in_other_hands(url: str) -> None:
    first, second = (Study.create("s", url) for _ in range(2))
    evaluation = begin(first, 1, steps)
    assert evaluation is not None
    assert begin(second, 1, steps) is None
    assert begin(first, 1, steps) is None
    first.release(evaluation)
    assert begin(second, 1, steps) == evaluation


def test_an_answer_says_that_evaluations_are_not_finished(
    shown: Callable[[Summary], str],
) -> None:
    study = Study.create("s", None)
    work(study, 2)
    begun = begin(study, 3, steps)
    assert begun is not None
    before = summarize(study)
    assert (len(before.evaluations), before.unfinished) == (2, 1)
    assert "1 more evaluation running or interrupted" in shown(before)
    study.release(begun)
    work(study, 3)
    after = summarize(study)
    assert (len(after.evaluations), after.unfinished) == (3, 0)
    assert "interrupted" not in shown(after)


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").is_file(), reason="Linux only")
def test_machines_of_one_name_do_not_take_each_other_for_dead(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clones of a machine share its name and the number of their first process namespace."""
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, **how: "x" if path.name == "boot_id" else read(path, **how)
    )
    elsewhere = Leases(open_storage(url))
    # No process has this number here.
    monkeypatch.setattr("lamsearch.study.leases.os.getpid", lambda: 2**22)
    assert elsewhere.claim(7)
    monkeypatch.undo()
    assert not Leases(open_storage(url)).claim(7)


def test_a_smaller_budget_leaves_what_was_begun_beyond_it(url: str) -> None:
    study = Study.create("s", url)
    work(study, 2)
    begun = begin(study, 3, steps)
    assert begun is not None
    study.release(begun)
    assert begin(study, 2, steps) is None
    assert begin(study, 3, steps) == begun


def test_a_failed_proposal_leaves_nothing_behind(url: str) -> None:
    def fails(history: History) -> Proposal:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin(Study.create("s", url), 1, fails)
    again = begin(Study.create("s", url), 1, steps)
    assert again is not None
    assert (again.number, again.lam) == (0, 0.01)


@pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.WAITING])
def test_a_trial_that_was_left_without_lam_or_images_gets_both(url: str, state: TrialState) -> None:
    """As an early version of lamsearch left it when it was killed, or `enqueue_trial` makes it."""
    policy = SearchPolicy(SearchConfig(), lambda number: range(number, number + 3))
    whole, left = Study.create("whole", url), Study.create("left", url)
    proposed = [begin(whole, 2, policy), begin(whole, 2, policy)]
    for _ in proposed:
        left._study.add_trial(optuna.trial.create_trial(state=state))
    found = [begin(left, 2, policy), begin(left, 2, policy)]
    assert [(e.lam, e.images) for e in found] == [(e.lam, e.images) for e in proposed]


@pytest.mark.parametrize("epsilon", [None, "90%"])
def test_an_enqueued_lam_is_evaluated_first(url: str, epsilon: str | None) -> None:
    """Also where the answer is good enough already: it keeps its λ and gets its images."""
    study = Study.create("s", url)
    policy = SearchPolicy(SearchConfig(epsilon=epsilon), lambda number: range(4))
    for _ in range(5):
        evaluation = begin(study, 6, policy)
        assert evaluation is not None
        scores = [-((evaluation.lam - 0.6) ** 2) + 0.1 * i for i in range(4)]
        study.record(evaluation, Batch(range(4), scores))
        study.finish(evaluation)
    study._study.enqueue_trial({"lam": 0.3})
    evaluation = begin(study, 6, policy)
    assert evaluation is not None
    assert (evaluation.number, evaluation.lam, evaluation.images) == (5, 0.3, ((0, 4),))
    assert study._study.trials[5].params == {"lam": 0.3}


def test_an_enqueued_lam_of_a_budget_of_images_starts_with_the_first_image(url: str) -> None:
    study, budget = Study.create("s", url), Budget(40, counts_images=True)
    policy = AllocationPolicy(SearchConfig())
    study._study.enqueue_trial({"lam": 0.31})
    evaluation = begin(study, budget, policy)
    assert evaluation is not None
    assert (evaluation.lam, evaluation.images) == (0.31, ((0, 32),))
    study.record(evaluation, Batch(range(32), [0.1 * i for i in range(32)], plan_size=1024))
    study.finish(evaluation)
    study._study.enqueue_trial({"lam": 0.31})
    more = begin(study, budget, policy)
    assert more is not None
    assert (more.lam, more.images) == (0.31, ((32, 40),))


def test_a_trial_that_never_gets_a_lam_is_given_up(url: str) -> None:
    class Done(Steps):
        def __call__(self, history: History) -> None:
            return None

    study = Study.create("s", url)
    study._study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    assert begin(study, 3, Done()) is None
    assert [trial.state for trial in study._study.trials] == [TrialState.FAIL]


def test_exclusive_leases_exclude_each_other(url: str) -> None:
    inside: list[int] = []

    def enter(leases: Leases) -> None:
        for _ in range(10):
            with leases.exclusive(1):
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
