"""Short words for what tests of studies do."""

from __future__ import annotations

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.records import Evaluation

SEARCH = SearchPolicy(SearchConfig())


def begin(study: Study, budget: int | Budget, policy: Policy = SEARCH) -> Evaluation | None:
    """Return the next evaluation to work on."""
    limit = budget if isinstance(budget, Budget) else Budget(budget)
    assignment = study.next_evaluation(policy, limit)
    return None if assignment is None else assignment.evaluation


def finished(name: str, storage: str) -> list[Evaluation]:
    """Return the finished evaluations of a stored study."""
    return Study.open(name, storage).history().finished
