"""Our search in the benchmark: the product's policy, and what the product says on the way.

`ours-ACQUISITION-KERNEL` shows all evaluations the same images, `ours-rotating-KERNEL` shows each
evaluation another part of a larger plan, as `--plan rotating` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import process_time
from typing import TypeAlias

import numpy as np
from optuna.trial import TrialState

from examples.benchmarks.curves import KERNELS, Array
from examples.benchmarks.problems import Problem
from examples.benchmarks.records import INITIAL, Record
from examples.benchmarks.simulation import simulate
from lamsearch.bayesopt.acquisition import maximize_on_line
from lamsearch.bayesopt.config import FIVE_PERCENT, SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.bayesopt.recommendation import recommend, should_stop
from lamsearch.evaluation.block_design import BlockDesign
from lamsearch.study.history import History
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.records import Evaluation
from lamsearch.surrogate.model import Surrogate

COVERAGE_AT = (6, 12)
CONFIDENCE = 0.9
"""Confidence of the stopping rule, which allows a loss of 5 % of the fitted range."""

SPEED_KINDS = ("images", "missing", "numbers")
"""What is timed: all scores of the plan's images, 5 % missing at random, and their means alone."""

MakePolicy: TypeAlias = Callable[[SearchConfig, Callable[[int], Sequence[int]]], Policy]
"""Options of the search, and a trial's number → its image ids: what a policy is made from."""


@dataclass(frozen=True)
class Ours:
    """One setting of our search.

    Attributes:
        acquisition: As in `SearchConfig`.
        kernel: As in `SearchConfig`.
        plan: "fixed" or "rotating".
        noises: The kinds of noise that it is tried on.
    """

    acquisition: str
    kernel: str
    plan: str = "fixed"
    noises: tuple[str, ...] = ("independent", "images")

    def config(self, seed: int) -> SearchConfig:
        return SearchConfig(seed=seed, acquisition=self.acquisition, kernel=self.kernel)

    def design(self, problem: Problem) -> BlockDesign:
        """Return which of the problem's images each evaluation sees."""
        return BlockDesign(problem.images, self.plan)


OURS = {f"ours-{a}-{k}": Ours(a, k) for a in ("auto", "kg", "ei", "ucb") for k in KERNELS}
OURS |= {f"ours-rotating-{k}": Ours("auto", k, "rotating", ("images",)) for k in KERNELS}


def run_ours(
    ours: Ours, problem: Problem, budget: int, *, make_policy: MakePolicy = SearchPolicy
) -> Record:
    """Search, and record what the product says after 4, 5, … evaluations."""
    config, design = ours.config(problem.seed), ours.design(problem)
    policy = make_policy(config, design.image_ids)
    evaluations = simulate(policy, problem.scores, Budget(budget), plan_size=design.total)
    answers, coverage, stopped = [], {}, {}
    for n in range(INITIAL, budget + 1):
        surrogate = Evidence.from_evaluations(evaluations[:n], config).surrogate
        answers.append(answer(surrogate))
        stopped = stopped or stop(surrogate, problem, answers[-1])
        if n in COVERAGE_AT:
            coverage[str(n)] = covered(surrogate, problem)
    lams = [evaluation.lam for evaluation in evaluations]
    return {"lams": lams, "answers": answers, "coverage": coverage, "stop": stopped}


def our_answer(lams: Sequence[float], scores: Sequence[Array], kernel: str) -> float:
    """Answer by our surrogate and recommendation, whoever chose the λs."""
    return answer(Evidence(SearchConfig(kernel=kernel), lams, scores).surrogate)


def answer(surrogate: Surrogate) -> float:
    """Return `recommend(surrogate).lam` without the interval, which takes most of the time."""
    return maximize_on_line(surrogate.mean, surrogate.bounds, zooms=3)[0]


def covered(surrogate: Surrogate, problem: Problem) -> Record:
    """Return whether the 95 % intervals of λ* and of J(λ*) contain the truth, and their widths.

    "lam_loss" is the regret at the λ of the interval that is nearest to the best one.
    """
    result = recommend(surrogate)
    low, high = result.lam_interval
    error = abs(result.value - float(problem.curve(np.array(result.lam))))
    return {
        "lam": low <= problem.best_lam <= high,
        "lam_width": high - low,
        "lam_loss": round(problem.regret(min(max(problem.best_lam, low), high)), 6),
        "value": error <= 1.96 * result.value_stderr,
        "value_stderr": result.value_stderr,
    }


def stop(surrogate: Surrogate, problem: Problem, lam: float) -> Record:
    """Return where the stopping rule stops: after n evaluations, and whether λ loses at most ε.

    The record is empty where the rule does not stop.
    """
    if not should_stop(surrogate, tolerance=FIVE_PERCENT, confidence=CONFIDENCE):
        return {}
    right = problem.regret(lam) <= FIVE_PERCENT(surrogate)
    return {"n": len(surrogate.lams), "right": bool(right)}


def seconds_per_suggestion(ours: Ours, n: int, kind: str) -> float:
    """Return the processor seconds from n evaluations of a kind of data to the next λ."""
    problem = Problem("gp", "images", 0.1, 0)
    design = ours.design(problem)
    policy = SearchPolicy(ours.config(problem.seed), design.image_ids)
    rng = np.random.default_rng(0)
    evaluations = []
    for number, lam in enumerate(np.linspace(0, 1, n).tolist()):
        ids = design.image_ids(number)
        scores = problem.scores(lam, number, ids)
        if kind == "missing":
            scores[rng.random(len(scores)) < 0.05] = np.nan
        stored = {0: scores.mean()} if kind == "numbers" else dict(zip(ids, scores, strict=True))
        size = 0 if kind == "numbers" else design.total
        done = TrialState.COMPLETE
        evaluations.append(Evaluation(number, lam, done, stored, 0.0, plan_size=size))
    history = History(tuple(evaluations), number=n)
    policy(history)
    start, times = process_time(), 5
    for _ in range(times):
        policy(history)
    return (process_time() - start) / times
