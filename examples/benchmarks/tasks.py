"""One run: a method on one problem. Tasks can go to other processes."""

from __future__ import annotations

import math
from itertools import islice
from time import process_time
from typing import NamedTuple

import numpy as np
from ours import OURS, our_answer, run_ours
from peers import GRIDS, PEERS
from problems import Problem
from records import INITIAL, KEY, Key, Record

from lamsearch.surrogate.model import KERNELS

METHODS = (*OURS, *PEERS, *GRIDS)
RULES = ("own", *(f"our-{kernel}" for kernel in KERNELS))


class Task(NamedTuple):
    method: str
    rule: str
    key: Key
    budget: int
    lams: list[float] | None  # what the peer evaluated, for our rule


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
    kernel, answers = task.rule.removeprefix("our-"), []
    for n in range(INITIAL, task.budget + 1):
        lams = task.lams[:n] if task.lams else grid_lams(n)
        scores = [problem.scores(lam, j) for j, lam in enumerate(lams)]
        answers.append(our_answer(lams, scores, kernel))
    return {"answers": answers}


def run(task: Task) -> Record:
    start = process_time()
    method, problem = task.method, Problem(*task.key)
    if task.rule != "own":
        record = run_our_rule(task, problem)
    elif method in OURS:
        record = run_ours(OURS[method], problem, task.budget)
    else:
        record = (run_grid if method in GRIDS else run_peer)(method, problem, task.budget)
    regrets = [round(problem.regret(lam), 6) for lam in record["answers"]]
    seconds = round(process_time() - start, 3)
    place = dict(zip(KEY, task.key, strict=True))
    return {**place, "budget": task.budget, **record, "regrets": regrets, "seconds": seconds}
