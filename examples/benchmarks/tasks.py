"""One run of the benchmark: a method on one problem. Tasks can go to other processes."""

from __future__ import annotations

import math
from itertools import islice
from time import process_time
from typing import NamedTuple

import numpy as np

from examples.benchmarks.curves import KERNELS
from examples.benchmarks.ours import OURS, our_answer, run_ours
from examples.benchmarks.peers import GRIDS, PEERS
from examples.benchmarks.problems import Problem
from examples.benchmarks.records import INITIAL, KEY, Key, Record

METHODS = (*OURS, *PEERS, *GRIDS)
RULES = ("own", *(f"our-{kernel}" for kernel in KERNELS))


class Task(NamedTuple):
    """What to run.

    Attributes:
        method: One of `METHODS`.
        rule: One of `RULES`: who answers.
        key: The problem.
        budget: Number of evaluations.
        lams: λs that a peer evaluated, for our rule; None for the even grids.
    """

    method: str
    rule: str
    key: Key
    budget: int
    lams: list[float] | None


def run_peer(method: str, problem: Problem, budget: int) -> Record:
    lams: list[float] = []

    def evaluate(lam: float) -> tuple[float, float]:
        scores = problem.scores(lam, len(lams))
        lams.append(lam)
        return float(scores.mean()), float(scores.std(ddof=1)) / math.sqrt(len(scores))

    answers = list(islice(PEERS[method](evaluate, problem.seed), budget))
    return {"lams": lams[:budget], "answers": answers[INITIAL - 1 :]}


def grid_lams(n: int) -> list[float]:
    return np.linspace(0, 1, n).tolist()


def run_grid(method: str, problem: Problem, budget: int) -> Record:
    answers = []
    for n in range(INITIAL, budget + 1):
        lams = grid_lams(n)
        values = [float(problem.scores(lam, j).mean()) for j, lam in enumerate(lams)]
        answers.append(float(GRIDS[method](lams, values)))
    return {"answers": answers}


def run_our_rule(task: Task, problem: Problem) -> Record:
    """Answer by our rule on the λs that a peer chose."""
    kernel, answers = task.rule.removeprefix("our-"), []
    for n in range(INITIAL, task.budget + 1):
        lams = task.lams[:n] if task.lams else grid_lams(n)
        scores = [problem.scores(lam, j) for j, lam in enumerate(lams)]
        answers.append(our_answer(lams, scores, kernel))
    return {"answers": answers}


def run(task: Task) -> Record:
    """Run a task and return its record, with the regrets of its answers."""
    start = process_time()
    method, problem = task.method, Problem(*task.key)
    if task.rule != "own":
        record = run_our_rule(task, problem)
    elif method in OURS:
        record = run_ours(OURS[method], problem, task.budget)
    else:
        record = (run_grid if method in GRIDS else run_peer)(method, problem, task.budget)
    seconds = round(process_time() - start, 3)
    place = dict(zip(KEY, task.key, strict=True))
    found = {"regrets": regrets(problem, record), "seconds": seconds}
    return {**place, "budget": task.budget, **record, **found}


def regrets(problem: Problem, record: Record) -> list[float]:
    return [round(problem.regret(lam), 6) for lam in record["answers"]]
