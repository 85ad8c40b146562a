"""The benchmark's methods: ours is the product, and the peers search as they say."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from optuna.trial import TrialState

from examples.benchmarks import ours, peers, problems, rounding, tasks
from examples.benchmarks.simulation import simulate
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.bayesopt.recommendation import recommend
from lamsearch.study.history import score_rows
from lamsearch.study.proposal import Budget
from lamsearch.surrogate.model import Surrogate

# λs, answers after 4, 5, … evaluations, and the stop, as computed by the version of `ours.py` that
# measured `results/search.json`: with a copy of the search loop and without rounding.
BEFORE = {
    ("ours-auto-matern", "bump", "images", 0.1, 0): (
        [0.0, 1.0, 0.37250441681721275, 0.6839849886999823, 0.817, 0.89, 0.1863],
        [0.75852, 0.81499, 0.83756, 0.8363299999999999],
        {"n": 6, "right": True},
    ),
    ("ours-auto-matern", "at_1", "independent", 0.3, 1): (
        [0.0, 1.0, 0.2967544395599686, 0.6437128755473042, 0.818, 0.997, 0.731],
        [0.9844499999999999, 0.99147, 0.85441, 0.77235],
        {},
    ),
    ("ours-rotating-matern", "gp", "images", 0.3, 2): (
        [0.0, 1.0, 0.36813005547054933, 0.6330762677010243, 0.877, 0.18409999999999999, 0.5006],
        [1.0, 1.0, 1.0, 1.0],
        {"n": 5, "right": True},
    ),
    ("ours-auto-matern", "miniature", "images", 0.1, 3): (
        [0.0, 1.0, 0.29450901630421, 0.6488950188934421, 0.46, 0.374, 0.544],
        [0.38752000000000003, 0.40446000000000004, 0.41116, 0.41228],
        {"n": 7, "right": True},
    ),
    ("ours-ei-rbf", "collapse", "images", 0.1, 0): (
        [0.0, 1.0, 0.37250441681721275, 0.6839849886999823, 0.283, 0.336],
        [0.35602000000000006, 0.34335000000000004, 0.34438],
        {"n": 5, "right": True},
    ),
}


@pytest.mark.parametrize("case", BEFORE, ids=lambda case: "-".join(map(str, case)))
def test_without_rounding_the_search_is_the_one_of_the_stored_figures(
    case: tuple[str, str, str, float, int],
) -> None:
    method, *key = case
    lams, answers, stop = BEFORE[case]
    record = ours.run_ours(
        ours.OURS[method],
        problems.Problem(*key),
        len(lams),
        make_policy=rounding.UnroundedPolicy,
    )
    # Equal to the last bit where the figures were measured; elsewhere sums may round otherwise.
    assert record["lams"] == pytest.approx(lams, abs=1e-9)
    assert record["answers"] == pytest.approx(answers, abs=1e-9)
    assert record["stop"] == stop


@pytest.mark.parametrize("case", BEFORE, ids=lambda case: "-".join(map(str, case)))
def test_the_product_differs_by_rounding_alone(
    case: tuple[str, str, str, float, int],
) -> None:
    method, *key = case
    budget = len(BEFORE[case][0])
    row = rounding.compare(method, tuple(key), budget)
    assert row["moved"] <= 5e-7
    assert row["rounded"] == pytest.approx(row["unrounded"], abs=1e-5)
    assert row["same_stop"]
    assert all(row["same_coverage"])


def fitted(problem: problems.Problem, lams: list[float], kernel: str) -> Surrogate:
    scores = [problem.scores(lam, j) for j, lam in enumerate(lams)]
    return Evidence(SearchConfig(kernel=kernel), lams, scores).surrogate


def test_a_rotating_plan_leaves_nan_where_an_image_was_not_generated() -> None:
    problem = problems.Problem("bump", "images", 0.1, 0)
    design = ours.OURS["ours-rotating-rbf"].design(problem)
    policy = SearchPolicy(SearchConfig(), design.image_ids)
    found = simulate(policy, problem.scores, Budget(2), plan_size=design.total)
    for evaluation, row in zip(found, score_rows(found), strict=True):
        ids = list(design.image_ids(evaluation.number))
        assert np.flatnonzero(~np.isnan(row)).tolist() == ids
        np.testing.assert_array_equal(
            row[ids], problem.scores(evaluation.lam, evaluation.number, ids)
        )
        assert evaluation.state == TrialState.COMPLETE


def test_our_answer_is_the_recommendation() -> None:
    problem = problems.Problem("bump", "images", 0.1, 0)
    lams = [0.0, 0.3, 0.7, 1.0]
    surrogate = fitted(problem, lams, "rbf")
    assert ours.answer(surrogate) == pytest.approx(recommend(surrogate).lam, abs=1e-6)


def test_each_method_spends_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = problems.Problem("bump", "images", 0.03, 0)
    for method in ("golden", "paper", "tpe"):
        record = tasks.run_peer(method, problem, 7)
        assert len(record["lams"]) == 7
        assert len(record["answers"]) == 4
    asked: list[tuple[float, ...]] = []
    spy = {"grid": lambda lams, values: asked.append(tuple(lams)) or 0.0}
    monkeypatch.setattr(tasks, "GRIDS", spy)
    tasks.run_grid("grid", problem, 5)
    assert [len(lams) for lams in asked] == [4, 5]
    assert all(lams[0] == 0 and lams[-1] == 1 for lams in asked)


def test_golden_section_search_finds_a_single_peak() -> None:
    asked: list[float] = []

    def evaluate(lam: float) -> tuple[float, float]:
        asked.append(lam)
        return -abs(lam - 0.37), 0.0

    answers = list(islice(peers.golden(evaluate, 0), 12))
    assert len(asked) == 12
    assert answers[-1] == pytest.approx(0.37, abs=peers.GOLDEN**11)


def test_the_papers_fit_has_the_right_gradient() -> None:
    lams = np.array([0.1, 0.4, 0.5, 0.9])
    squares, targets = (lams[:, None] - lams) ** 2, np.array([0.3, -1.0, 1.2, 0.4])
    logs = peers.LOG_STARTS[1]
    _, gradient = peers._negative_log_likelihood(logs, squares, targets)
    for k, step in enumerate(1e-6 * np.eye(3)):
        ends = [
            peers._negative_log_likelihood(logs + s, squares, targets)[0] for s in (step, -step)
        ]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4)


def test_a_stop_is_right_if_the_loss_is_small() -> None:
    problem = problems.Problem("bump", "images", 0.001, 0)
    lams = np.linspace(0, 1, 9).tolist()
    surrogate = fitted(problem, lams, "matern")
    assert ours.stop(surrogate, problem, problem.best_lam) == {"n": 9, "right": True}
    assert ours.stop(surrogate, problem, 0.0) == {"n": 9, "right": False}
    assert ours.stop(fitted(problem, lams[:4], "matern"), problem, problem.best_lam) == {}
