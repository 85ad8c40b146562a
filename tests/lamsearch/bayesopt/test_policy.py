"""What the policy proposes while other workers are at their evaluations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from optuna.trial import TrialState

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.study.history import History
from lamsearch.study.records import Evaluation

IMAGES = 16


def evaluation(number: int, lam: float, *, done: bool) -> Evaluation:
    effects = np.random.default_rng(0).normal(0, 0.1, IMAGES)
    noise = np.random.default_rng(number).normal(0, 0.02, IMAGES)
    scores = dict(enumerate(effects + noise - (lam - 0.4) ** 2)) if done else {}
    state = TrialState.COMPLETE if done else TrialState.RUNNING
    return Evaluation(number, lam, state, scores, 1.0, plan_size=IMAGES, bounds=(0.0, 1.0))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("finished", [0, 1, 2])
def test_workers_that_start_together_spread_out(seed: int, finished: int) -> None:
    """Also the one that is first to be done: a single evaluation tells no λ from another."""
    policy, found = SearchPolicy(SearchConfig(seed=seed)), list[Evaluation]()
    for number in range(6):
        if number == 4:
            found[:finished] = [evaluation(e.number, e.lam, done=True) for e in found[:finished]]
        proposal = policy(History(tuple(found), number=number))
        assert proposal is not None
        found.append(evaluation(number, proposal.lam, done=False))
    lams = sorted(each.lam for each in found)
    assert min(b - a for a, b in itertools.pairwise(lams)) > 0.02
