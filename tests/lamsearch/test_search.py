"""The search, from a function of λ and from images, whole and interrupted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import optuna
import pytest

import lamsearch
import warm_processes
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import AllocationPolicy
from lamsearch.errors import EvaluationError, SettingsError, StudyError
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget
from lamsearch.study.records import Evaluation
from studies import begin, finished

EFFECTS = np.random.default_rng(0).normal(0, 1.0, 40)
RESIDUALS = np.random.default_rng(1).normal(0, 0.05, 40)


def scores(lam: float) -> np.ndarray:
    """Per-image scores with a maximum near 0.6, a large image effect and a small residual."""
    return -((lam - 0.6) ** 2) + EFFECTS + lam * RESIDUALS


def test_search_finds_the_maximum_and_says_how_sure() -> None:
    result = lamsearch.search(scores, beta=500, budget=10)
    best = 0.6 + RESIDUALS.mean() / 2
    assert result.lam == pytest.approx(best, abs=0.03)
    assert result.lam_interval[0] <= best <= result.lam_interval[1]
    assert result.effective_beta == pytest.approx(500 / result.lam)
    assert len(result.evaluations) == 10
    assert (result.anchor, result.reward, result.storage) == (None, None, None)


def test_plain_numbers_and_missing_images() -> None:
    numbers = lamsearch.search(lambda lam: float(-((lam - 0.3) ** 2)), budget=9)
    assert numbers.lam == pytest.approx(0.3, abs=0.03)
    assert numbers.effective_beta is None
    assert all(e.stderr is None for e in numbers.evaluations)

    def with_missing(lam: float) -> np.ndarray:
        row = scores(lam)
        row[int(lam * 10) % 3] = np.nan
        return row

    result = lamsearch.search(with_missing, beta=500, budget=8)
    assert [e.missing for e in result.evaluations] == [1] * 8
    assert result.lam == pytest.approx(0.6, abs=0.06)


def test_an_image_missing_at_one_lam_does_not_distort_the_comparison() -> None:
    def bright_one_missing_at_0(lam: float) -> np.ndarray:
        row = scores(lam)
        row[3] = np.nan if lam == 0 else 500.0
        return row

    result = lamsearch.search(bright_one_missing_at_0, budget=6)
    rise = result.best_observed.value - result.evaluations[0].value
    assert rise == pytest.approx(0.36, abs=0.03)
    assert [e.missing for e in result.evaluations] == [1, 0, 0, 0, 0, 0]


def test_bounds_beyond_1() -> None:
    result = lamsearch.search(lambda lam: -((lam - 1.4) ** 2), budget=9, bounds=(0, 2))
    assert result.lam == pytest.approx(1.4, abs=0.05)


def test_bounds_below_0_have_no_strength_above_that_of_0(
    shown: Callable[[lamsearch.Summary], str],
) -> None:
    result = lamsearch.search(lambda lam: -(lam**2), beta=500, budget=6, bounds=(-0.5, 1))
    assert result.lam_interval[0] < 0 < result.lam_interval[1]
    weak = f"{500 / result.lam_interval[1]:.0f}"
    assert f"95 % interval {weak} to ∞" in shown(result)


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"beta": np.int64(500), "seed": np.int64(3), "bounds": (np.float32(0), np.float32(1))}
    assert lamsearch.search(scores, budget=1, **given).beta == 500


@pytest.mark.slow
def test_a_search_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    whole = lamsearch.search(scores, budget=7, seed=2)
    calls = []

    def dies(lam: float) -> np.ndarray:
        calls.append(lam)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return scores(lam)

    with pytest.raises(KeyboardInterrupt):
        lamsearch.search(dies, budget=7, seed=2, storage=url, study="x")
    resumed = lamsearch.search(dies, budget=7, seed=2, storage=url, study="x")
    assert len(calls) == 8
    assert [e.lam for e in resumed.evaluations] == [e.lam for e in whole.evaluations]
    assert resumed.lam == whole.lam
    assert resumed.lam_interval == whole.lam_interval
    with pytest.raises(StudyError, match="seed was 2, is 3"):
        lamsearch.search(scores, budget=7, seed=3, storage=url, study="x")


def test_unusable_arguments_and_results_are_one_clear_line() -> None:
    for wrong, message in (
        ({"budget": 0}, "budget 0 given"),
        ({"bounds": (1, 0)}, "bounds 1 0 given, expected LO < HI"),
        ({"bounds": (0, np.nan)}, "bounds 0 nan given, expected LO < HI"),
        ({"bounds": (-1e308, 1e308)}, "expected LO < HI: numbers up to 1e[+]06"),
        ({"bounds": (0, 1e-300)}, "that differ by 1e-06 or more"),
        ({"acquisition": "pi"}, "acquisition 'pi' given, expected one of auto"),
        ({"beta": -5}, "beta -5 given"),
    ):
        with pytest.raises(SettingsError, match=message):
            lamsearch.search(scores, **wrong)
    for wrong_scores in (np.zeros((2, 2)), np.array([]), [np.inf], 1e160):
        with pytest.raises(EvaluationError, match="expected one number or a 1-D array"):
            lamsearch.search(lambda lam, bad=wrong_scores: bad)


def run_options(world: Path, tmp_path: Path, **overrides: object) -> dict[str, object]:
    return {
        "anchor": "b500",
        "reward": "pickscore",
        "budget": 5,
        "config": world / "lamsearch.toml",
        "storage": f"sqlite:///{tmp_path}/studies.db",
        "images": 6,
        **overrides,
    }


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_run_gives_the_same_scores_in_any_batch_size(world: Path, in_tmp: Path) -> None:
    rows = {}
    for size in (1, 4, 64):
        name = f"batch{size}"
        options = run_options(world, in_tmp, study=name, batch_size=size, budget=3)
        lamsearch.run(**options)
        rows[size] = {e.lam: e.row for e in finished(name, f"sqlite:///{in_tmp}/studies.db")}
    for size in (1, 4):
        for lam, row in rows[64].items():
            np.testing.assert_allclose(rows[size][lam], row, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_summary_names_everything_and_images_are_kept(world: Path, in_tmp: Path) -> None:
    result = lamsearch.run(**run_options(world, in_tmp))
    assert (result.anchor, result.reward) == ("b500", "pickscore")
    assert result.study == "b500-pickscore-seed0"
    assert [e.images for e in result.evaluations] == [6] * 5
    assert result.evaluations[0].effective_beta == float("inf")
    kept = sorted((in_tmp / result.study).glob("*.png"))
    assert len(kept) == 6 * 5
    again = lamsearch.run(**run_options(world, in_tmp))
    assert again == result


@pytest.mark.slow
def test_a_resume_under_other_settings_is_refused(world: Path, in_tmp: Path) -> None:
    lamsearch.run(**run_options(world, in_tmp, budget=1))
    with pytest.raises(StudyError, match="plan was"):
        lamsearch.run(**run_options(world, in_tmp, images=7))
    with pytest.raises(StudyError, match="bounds was"):
        lamsearch.run(**run_options(world, in_tmp, bounds=(0.0, 2.0)))
    with pytest.raises(StudyError, match=r"reward clip was None, is \{'kind': 'clip'"):
        lamsearch.run(**run_options(world, in_tmp, also=["clip"]))
    text = (world / "lamsearch.toml").read_text()
    other = world / "other.toml"
    other.write_text(text.replace('model = "reward"', 'model = "reward"\nbatch_size = 2'))
    with pytest.raises(StudyError, match=r"reward_options\.batch_size was None, is 2"):
        lamsearch.run(**run_options(world, in_tmp, config=other))


KILLED = """
import sys, lamsearch
world, folder = sys.argv[1:]
lamsearch.run("b500", "pickscore", 5, config=world + "/lamsearch.toml", images=6, batch_size=2,
              storage=f"sqlite:///{folder}/studies.db", study="killed", also=["clip"])
"""


@pytest.mark.slow
def test_sigkill_in_the_middle_changes_nothing(world: Path, in_tmp: Path) -> None:
    options = {"budget": 5, "images": 6, "batch_size": 2, "also": ["clip"]}
    whole = lamsearch.run(**run_options(world, in_tmp, **options, study="whole"))
    url = f"sqlite:///{in_tmp}/studies.db"
    process = warm_processes.start(KILLED, world, in_tmp)
    wait_for_scores(url, trials=2, process=process)
    process.kill()
    process.join()
    assert len(finished("killed", url)) < 5
    resumed = lamsearch.run(**run_options(world, in_tmp, **options, study="killed"))
    assert [e.lam for e in resumed.evaluations] == [e.lam for e in whole.evaluations]
    assert [e.value for e in resumed.evaluations] == [e.value for e in whole.evaluations]
    assert (resumed.lam, resumed.lam_interval) == (whole.lam, whole.lam_interval)
    assert resumed.others == whole.others
    stored = [finished(name, url) for name in ("whole", "killed")]
    for of_whole, of_killed in zip(*stored, strict=True):
        np.testing.assert_array_equal(of_killed.row, of_whole.row)
        np.testing.assert_array_equal(of_killed.tracked_row("clip"), of_whole.tracked_row("clip"))


def wait_for_scores(url: str, *, trials: int, process: BaseProcess) -> None:
    """Wait until some trial of the other process has a batch but is not finished."""
    storage = optuna.storages.RDBStorage(url)  # once: it takes longer than all that follows
    while process.is_alive():
        time.sleep(0.01)
        if "killed" in optuna.get_all_study_names(storage):
            stored = optuna.load_study(study_name="killed", storage=storage).trials
            if len(stored) >= trials and stored[-1].user_attrs:
                return
        time.sleep(0.01)
    raise AssertionError("the search ended before it could be killed")


class Interrupts:
    """Progress that ends the process, so to speak, after some batches."""

    def __init__(self, batches: int) -> None:
        self._left = batches

    def started(self, evaluation: Evaluation, done: int) -> None:
        pass

    def scored(self, evaluation: Evaluation, images: int) -> None:
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt

    def mixing(self, way: str) -> None:
        pass

    def finished(self, evaluation: Evaluation) -> None:
        pass

    def confirming(self, lams: int, images: int) -> None:
        pass


@pytest.mark.slow
def test_a_budget_of_images_is_spent_on_new_lams_and_on_more_images(
    world: Path, in_tmp: Path
) -> None:
    options = run_options(world, in_tmp, images="auto", budget=200, study="auto", seed=np.int64(0))
    result = lamsearch.run(**options)
    images = [e.images for e in result.evaluations]
    assert sum(images) == 200
    assert min(images[:4]) >= 32
    trials = finished("auto", options["storage"])
    assert len(trials) > len(result.evaluations)
    assert len({e.lam for e in result.evaluations}) == len(result.evaluations)
    for row in result.evaluations:
        ids = sorted(i for t in trials if t.lam == row.lam for i in t.scores)
        assert ids == list(range(row.images))  # the first images of the plan, each once
    more = lamsearch.run(**{**options, "budget": 230})
    assert sum(e.images for e in more.evaluations) == 230


@pytest.mark.slow
def test_a_budget_of_images_goes_on_where_it_was_interrupted(world: Path, in_tmp: Path) -> None:
    options = run_options(world, in_tmp, images="auto", budget=160, batch_size=16)
    whole = lamsearch.run(**options, study="whole")
    for batches in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            lamsearch.run(**options, study="halted", progress=Interrupts(batches))
    resumed = lamsearch.run(**options, study="halted")
    assert [e.lam for e in resumed.evaluations] == [e.lam for e in whole.evaluations]
    assert [e.images for e in resumed.evaluations] == [e.images for e in whole.evaluations]
    assert resumed.lam == pytest.approx(whole.lam, abs=1e-9)


@pytest.mark.slow
def test_a_rotating_plan_shows_each_lam_other_images(world: Path, in_tmp: Path) -> None:
    options = run_options(world, in_tmp, images=9, plan="rotating", study="rotating")
    result = lamsearch.run(**options)
    assert [e.images for e in result.evaluations] == [9] * 5
    seen = [set(e.scores) for e in finished("rotating", options["storage"])]
    assert all({0, 1, 2} <= ids for ids in seen)
    assert len(set.union(*seen)) > 13
    assert not any(a <= b for i, a in enumerate(seen) for b in seen[:i])


def test_unusable_plans_are_refused(world: Path, in_tmp: Path) -> None:
    for wrong, message in (
        ({"images": 0}, "images 0 given, expected a number of at least 2"),
        ({"images": "many"}, "images 'many' given"),
        ({"plan": "other"}, "plan 'other' given, expected one of fixed, rotating"),
        ({"images": "auto", "plan": "rotating"}, "plan 'rotating' given with images auto"),
    ):
        with pytest.raises(SettingsError, match=message):
            lamsearch.run(**run_options(world, in_tmp, **wrong))


def test_workers_on_a_budget_of_images_never_make_an_image_twice() -> None:
    policy = AllocationPolicy(SearchConfig(budget=400, seed=1))
    study = Study.create("s", None)
    rng = np.random.default_rng(0)
    held: list[Evaluation] = []
    while True:
        evaluation = begin(study, Budget(400, counts_images=True), policy)
        if evaluation is not None:
            held.append(evaluation)
        if evaluation is None or len(held) == 3:
            if not held:
                break
            done = held.pop(int(rng.integers(len(held))))  # workers finish in any order
            ids = range(*done.images[0])
            values = -((done.lam - 0.6) ** 2) + EFFECTS[np.array(ids) % 40] * (1 + 0.1 * done.lam)
            study.record(done, Batch(ids, values.tolist(), plan_size=1024))
            study.finish(done)
    made = [(e.lam, i) for e in study.history().finished for i in e.scores]
    assert len(made) == len(set(made)) == 400


def test_a_lam_without_usable_images_is_not_tried_for_ever() -> None:
    policy = AllocationPolicy(SearchConfig(budget=300))
    study = Study.create("s", None)
    tried = []
    for _ in range(12):
        evaluation = begin(study, Budget(300, counts_images=True), policy)
        assert evaluation is not None
        ids = range(*evaluation.images[0])
        tried.append((evaluation.lam, ids.start))
        bad = 0.3 < evaluation.lam < 0.45
        rows = np.full(len(ids), np.nan) if bad else -((evaluation.lam - 0.6) ** 2) + EFFECTS[:1]
        values = np.broadcast_to(rows, len(ids)) + 0.1 * EFFECTS[np.array(ids) % 40]
        study.record(evaluation, Batch(ids, values.tolist(), plan_size=1024))
        if bad:
            study.finish(evaluation)
            study.record(dataclasses.replace(evaluation, attempt=1), Batch(ids, values.tolist()))
            with pytest.raises(EvaluationError, match=r"scores are missing, 2 times"):
                study.finish(evaluation)
        else:
            study.finish(evaluation)
    assert len(set(tried)) == len(tried)


def test_what_a_dead_process_enqueued_is_taken_up() -> None:
    def lams(dies: bool) -> list[tuple[float, int]]:
        policy = AllocationPolicy(SearchConfig(budget=250))
        study = Study.create("s", None)
        order = []
        while True:
            if dies and len(order) == 5:
                lam, images = policy(dataclasses.replace(study.history(), left=90))
                study._study.enqueue_trial({"lam": lam}, user_attrs={"images": [*images[0]]})
                dies = False
            evaluation = begin(study, Budget(250, counts_images=True), policy)
            if evaluation is None:
                return order
            ids = range(*evaluation.images[0])
            order.append((evaluation.lam, ids.start))
            values = -((evaluation.lam - 0.6) ** 2) * (1 + 0.1 * EFFECTS[np.array(ids) % 40])
            study.record(evaluation, Batch(ids, values.tolist(), plan_size=1024))
            study.finish(evaluation)

    assert lams(dies=True) == lams(dies=False)


def test_images_auto_needs_paired_noise(world: Path, in_tmp: Path) -> None:
    with pytest.raises(SettingsError, match="images auto given with noise 'homoscedastic'"):
        lamsearch.run(**run_options(world, in_tmp, images="auto", noise="homoscedastic"))
