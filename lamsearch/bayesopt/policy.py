"""Which λ next: the history of a study → a proposal, a pure function.

A new study begins with the initial design. What is known already cuts that short: trials of an
earlier study, enqueued ones, those of other workers. Then the acquisition decides.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lamsearch.bayesopt.acquisition import CLEARANCE, Feasible, next_lam
from lamsearch.bayesopt.constraint import Constraint, feasibility, guard_surrogate
from lamsearch.bayesopt.image_allocation import LEAST_NEW, Step, next_step
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.strategy import Strategy
from lamsearch.study.records import Evaluation, score_rows
from lamsearch.surrogate.model import Surrogate

INITIAL_DESIGN = 4
_DIGITS = 6
"""Of a proposal, relative to the width of the bounds: λ stays readable."""


@dataclass(frozen=True, eq=False)
class History:
    """What a proposal depends on, in the order of the trials' numbers.

    Attributes:
        bounds: λ's range (low, high); all λs are within.
        lams: Evaluated λs.
        scores: Their scores, larger is better, as `observe` takes them.
        pending: λs under evaluation, and those about to be; None = not proposed yet.
        taken: λs of later trials, not to be proposed again.
        failed: λs where evaluations failed; they would again.
        constraint: On another reward, if there is one.
        guard: That reward's scores at the evaluated λs.
        strategy: How the curve is modelled, and λ proposed.
    """

    bounds: tuple[float, float]
    lams: list[float] = field(default_factory=list)
    scores: list[NDArray[np.float64]] = field(default_factory=list)
    pending: list[float | None] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    constraint: Constraint | None = None
    guard: list[NDArray[np.float64]] = field(default_factory=list)
    strategy: Strategy = field(default_factory=Strategy)

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], start: History) -> History:
        """Return `start` with finished evaluations, in their order."""
        guard = start.constraint
        return dataclasses.replace(
            start,
            lams=[evaluation.lam for evaluation in evaluations],
            scores=score_rows(evaluations),
            guard=[] if guard is None else score_rows(evaluations, guard.name),
        )

    @cached_property
    def surrogate(self) -> Surrogate:
        """Fitted to the evaluated λs, of which there must be one."""
        return self.strategy.fit(self.lams, self.scores, bounds=self.bounds)

    @cached_property
    def feasible(self) -> Feasible | None:
        """Probability (g,) of the constraint at λs (g,); None as long as nothing is known of it."""
        if self.constraint is None:
            return None
        guard = guard_surrogate(self.lams, self.guard, bounds=self.bounds)
        return None if guard is None else feasibility(guard, self.constraint)


def propose(history: History, *, seed: int = 0) -> float:
    """Return the next λ, `CLEARANCE` or more away from any known one while there is room.

    Workers that ask at once see each other's trials, but not their λs: a pending λ that is not
    known is the one that this function proposes there, in the order of the trials.

    Args:
        history: What is known.
        seed: Of the initial design.
    """
    pending: list[float] = []
    for lam in (*history.pending, None):
        new = _next(history, pending, seed) if lam is None else lam
        pending.append(new)
    return pending[-1]


def propose_step(
    history: History, counts: Sequence[int], *, pending: Sequence[Step], limit: int, seed: int
) -> Step:
    """Return the next λ and its images, for a budget of images: a pure function.

    Args:
        history: Finished evaluations, one a λ; its own pending λs play no part.
        counts: Images that each of them has seen.
        pending: What other workers are at.
        limit: Images left in the budget, ≥ 1.
        seed: Of the initial design.
    """
    opening = _opening(history, [step.lam for step in pending], seed)
    if opening is not None:
        return Step(opening, 0, min(LEAST_NEW, limit))
    step = next_step(
        history.surrogate,
        counts,
        limit=limit,
        pending=pending,
        failed=history.failed,
        feasible=history.feasible,
        acquisition=history.strategy.acquisition,
    )
    return step if step.start else step._replace(lam=_rounded(step.lam, history.bounds))


def _rounded(lam: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(max(round(lam, _DIGITS - math.ceil(math.log10(high - low))), low), high)


def _next(history: History, pending: Sequence[float], seed: int) -> float:
    opening = _opening(history, pending, seed)
    if opening is not None:
        return opening
    lam = next_lam(
        history.surrogate,
        acquisition=history.strategy.acquisition,
        taken=history.taken,
        pending=[*pending, *history.failed],
        feasible=history.feasible,
        observed=history.strategy.observed,
    )
    return _rounded(lam, history.bounds)


def _opening(history: History, pending: Sequence[float], seed: int) -> float | None:
    """The next λ while there is little to learn from: of the initial design, or of a gap."""
    low, high = bounds = history.bounds
    clearance = CLEARANCE * (high - low)
    known = [*history.lams, *pending]
    taken = [*known, *history.taken, *history.failed]
    design = initial_lams(INITIAL_DESIGN, bounds=bounds, seed=seed, design=history.strategy.design)
    free = [lam for lam in design if _is_clear(lam, taken, clearance)]
    if free and _count_places(known, clearance) < INITIAL_DESIGN:
        return _rounded(free[0], bounds)
    return None if history.lams else _rounded(_middle_of_widest_gap(taken, bounds), bounds)


def _is_clear(lam: float, taken: Sequence[float], clearance: float) -> bool:
    return all(abs(lam - other) >= clearance for other in taken)


def _count_places(lams: Sequence[float], clearance: float) -> int:
    """Count λs, those that are not clear of one before them as the same."""
    places: list[float] = []
    for lam in lams:
        if _is_clear(lam, places, clearance):
            places.append(lam)
    return len(places)


def _middle_of_widest_gap(taken: Sequence[float], bounds: tuple[float, float]) -> float:
    gaps = itertools.pairwise(sorted({*taken, *bounds}))
    left, right = max(gaps, key=lambda gap: gap[1] - gap[0])
    return (left + right) / 2
