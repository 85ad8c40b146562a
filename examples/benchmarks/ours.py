"""Our search in the benchmark, with what it says of itself on the way.

`ours-ACQUISITION-KERNEL` has one plan of images for all evaluations, `ours-rotating-KERNEL` the
library's schedule, in which the images change from one evaluation to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import process_time
from typing import NamedTuple, TypeAlias

import numpy as np
from curves import Array
from problems import Problem
from records import INITIAL, Record

from lamsearch.bayesopt.acquisition import maximize_on_line, next_lam
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.recommendation import FIVE_PERCENT, recommend, should_stop
from lamsearch.evaluation.block_design import Schedule
from lamsearch.surrogate.model import KERNELS, Surrogate, fit_surrogate
from lamsearch.surrogate.observations import observe

COVERAGE_AT = (6, 12)
CONFIDENCE = 0.9
"""Of the stopping rule, which allows a loss of 5 % of the fitted range."""

Plan: TypeAlias = Callable[[int, int], Sequence[int]]
"""Number of the evaluation, from 0, and of the plan's images → the images to score."""

SPEED_KINDS = ("images", "missing", "numbers")
"""What is timed: all scores of the plan's images, 5 % missing at random, and their means alone."""


class Ours(NamedTuple):
    acquisition: str
    kernel: str
    plan: Plan = lambda evaluation, images: range(images)
    noises: tuple[str, ...] = ("independent", "images")


def rotating(evaluation: int, images: int) -> Sequence[int]:
    return Schedule(images, "rotating").image_ids(evaluation)


OURS = {f"ours-{a}-{k}": Ours(a, k) for a in ("auto", "kg", "ei", "ucb") for k in KERNELS}
OURS |= {f"ours-rotating-{k}": Ours("auto", k, rotating, ("images",)) for k in KERNELS}


def fit(lams: Sequence[float], scores: Sequence[Array], kernel: str) -> Surrogate:
    return fit_surrogate(observe(list(lams), list(scores)), kernel=kernel)


def suggest(ours: Ours, lams: Sequence[float], scores: Sequence[Array]) -> float:
    return next_lam(fit(lams, scores, ours.kernel), acquisition=ours.acquisition)


def our_answer(lams: Sequence[float], scores: Sequence[Array], kernel: str) -> float:
    """Our rule: our surrogate and recommendation on these scores, whoever chose the λs."""
    return answer(fit(lams, scores, kernel))


def answer(surrogate: Surrogate) -> float:
    """`recommend(surrogate).lam` without the interval, which takes most of the time."""
    return maximize_on_line(surrogate.mean, surrogate.bounds, zooms=3)[0]


def run_ours(ours: Ours, problem: Problem, budget: int) -> Record:
    """The search with what it says on the way, from the initial design on."""
    lams = initial_lams(INITIAL, seed=problem.seed)
    rows = [score(ours, problem, lam, j) for j, lam in enumerate(lams)]
    answers, coverage, stopped = [], {}, {}
    for n in range(INITIAL, budget + 1):
        surrogate = fit(lams, by_position(rows), ours.kernel)
        answers.append(answer(surrogate))
        stopped = stopped or stop(surrogate, problem, answers[-1])
        if n in COVERAGE_AT:
            coverage[str(n)] = covered(surrogate, problem)
        if n < budget:
            lams.append(next_lam(surrogate, acquisition=ours.acquisition))
            rows.append(score(ours, problem, lams[-1], n))
    return {"lams": lams, "answers": answers, "coverage": coverage, "stop": stopped}


def score(ours: Ours, problem: Problem, lam: float, evaluation: int) -> tuple[list[int], Array]:
    """The images that the plan has for this evaluation, and their scores."""
    ids = list(ours.plan(evaluation, problem.images))
    return ids, problem.scores(lam, evaluation, ids)


def by_position(rows: Sequence[tuple[list[int], Array]]) -> list[Array]:
    """Scores with the image's number as position, NaN where an image was not asked for."""
    images = 1 + max(max(ids) for ids, _ in rows)
    table = np.full((len(rows), images), np.nan)
    for row, (ids, scores) in zip(table, rows, strict=True):
        row[ids] = scores
    return list(table)


def covered(surrogate: Surrogate, problem: Problem) -> Record:
    """Whether the 95 % intervals of λ* and of J(λ*) hold the truth, and how wide they are.

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
    """When the stopping rule says so: the evaluations, and whether at most ε is lost at λ."""
    if not should_stop(surrogate, tolerance=FIVE_PERCENT, confidence=CONFIDENCE):
        return {}
    right = problem.regret(lam) <= FIVE_PERCENT(surrogate)
    return {"n": len(surrogate.lams), "right": bool(right)}


def seconds_per_suggestion(ours: Ours, n: int, kind: str) -> float:
    """Processor seconds from n evaluations of a kind of data to the next λ, on one thread."""
    problem = Problem("gp", "images", 0.1, 0)
    lams = np.linspace(0, 1, n).tolist()
    table = np.array(by_position([score(ours, problem, lam, j) for j, lam in enumerate(lams)]))
    if kind == "missing":
        table[np.random.default_rng(0).random(table.shape) < 0.05] = np.nan
    scores = list(np.nanmean(table, axis=1) if kind == "numbers" else table)
    suggest(ours, lams, scores)
    start, times = process_time(), 5
    for _ in range(times):
        suggest(ours, lams, scores)
    return (process_time() - start) / times
