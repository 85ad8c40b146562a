"""Which λ next, on which images: the history of a study → a proposal, a pure function.

A new study begins with the initial design. Whatever is known already cuts that short: trials of an
earlier study, enqueued ones, those of other workers. Then the acquisition decides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamsearch.bayesopt.acquisition import CLEARANCE, next_lam
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.image_allocation import LEAST_NEW, Step, next_step
from lamsearch.bayesopt.initial_design import initial_lams
from lamsearch.bayesopt.recommendation import should_stop
from lamsearch.study.history import History, merged
from lamsearch.study.proposal import Proposal
from lamsearch.study.records import Evaluation, ImageRanges, to_ranges

INITIAL_DESIGN = 4
_DIGITS = 6
"""Digits of a proposal, relative to the width of the bounds: λ stays readable."""


@dataclass(frozen=True)
class SearchPolicy:
    """Proposes one λ after the other, each on the images that its trial's number gives it.

    Attributes:
        config: Options of the search.
        image_ids: A trial's number → the increasing ids of its images; None for a function that
            has no images.
    """

    config: SearchConfig
    image_ids: Callable[[int], Sequence[int]] | None = None

    def __call__(self, history: History) -> Proposal | None:
        """Return the next λ and its images; None once the answer is good enough."""
        history = history.within(self.config.bounds)
        evaluations = merged(history.finished)
        evidence = Evidence.from_evaluations(evaluations, self.config)
        if _is_enough(evidence):
            return None
        # A trial of a higher number does not wait for this one: its λ is only not to be repeated.
        under_way = [each for each in history.evaluations if not each.state.is_finished()]
        before = [e.lam for e in under_way if e.number < history.number]
        after = [e.lam for e in under_way if e.number > history.number and not math.isnan(e.lam)]
        lam = propose(
            evidence, pending=before, taken=after, failed=_failed_lams(history, evaluations)
        )
        return Proposal(lam, self.images_at(lam, history))

    def images_at(self, lam: float, history: History) -> ImageRanges | None:
        """Return the images that the trial's number gives it, whatever its λ."""
        return None if self.image_ids is None else to_ranges(self.image_ids(history.number))


@dataclass(frozen=True)
class AllocationPolicy:
    """Proposes a new λ or more images at one, whichever promises more per image.

    Attributes:
        config: Options of the search.
    """

    config: SearchConfig

    def __call__(self, history: History) -> Proposal | None:
        """Return λ and the next images of the plan there; None once the answer is good enough.

        Images without any usable score are not tried again: a failed evaluation counts as done.
        """
        history = history.within(self.config.bounds)
        evaluations = merged(history.finished)
        evidence = Evidence.from_evaluations(evaluations, self.config)
        if _is_enough(evidence):
            return None
        running = [Step(e.lam, *e.images[0]) for e in history.running if e.images]
        failed = _failed_lams(history, evaluations)
        opening = _opening(evidence, [step.lam for step in running], failed=failed)
        if opening is not None:
            return Proposal(opening, ((0, min(LEAST_NEW, history.left)),))
        step = next_step(
            evidence.surrogate,
            [_images_seen(evaluation, history.failed) for evaluation in evaluations],
            limit=history.left,
            pending=[*running, *(Step(lam, 0, 0) for lam in failed)],
            feasible=evidence.feasible,
            acquisition=self.config.acquisition,
        )
        lam = step.lam if step.start else _rounded(step.lam, self.config.bounds)
        return Proposal(lam, ((step.start, step.stop),))

    def images_at(self, lam: float, history: History) -> ImageRanges:
        """Return the images of a new λ, or the next ones of a λ that has some."""
        seen = [_images_seen(e, history.failed) for e in merged(history.finished) if e.lam == lam]
        start = max(seen, default=0)
        return ((start, start + max(min(LEAST_NEW, history.left), 1)),)


def propose(
    evidence: Evidence,
    *,
    pending: Sequence[float] = (),
    taken: Sequence[float] = (),
    failed: Sequence[float] = (),
) -> float:
    """Return the next λ, `CLEARANCE` or more away from any known one while there is room.

    Workers that ask at once see each other's trials, but not their λs: a pending λ that is not
    known is the one that this function proposes there, in the order of the trials.

    Args:
        evidence: The finished evaluations.
        pending: λs under evaluation, and those about to be; NaN = not proposed yet.
        taken: λs that are not to be proposed again.
        failed: λs where evaluations failed; they would again.
    """
    known: list[float] = []
    for lam in (*pending, math.nan):
        new = math.isnan(lam)
        known.append(_next(evidence, known, taken=taken, failed=failed) if new else lam)
    return known[-1]


def _is_enough(evidence: Evidence) -> bool:
    """Whether λ* is within ε of the best with the required confidence, under the model."""
    config = evidence.config
    if config.epsilon is None or not evidence.lams:
        return False
    return should_stop(
        evidence.surrogate,
        tolerance=config.epsilon,
        confidence=config.confidence,
        feasible=evidence.feasible,
        observed=config.answers_observed,
    )


def _failed_lams(history: History, evaluations: Sequence[Evaluation]) -> list[float]:
    """Return λs where every evaluation failed."""
    scored = {evaluation.lam for evaluation in evaluations}
    return [e.lam for e in history.failed if e.lam not in scored and not math.isnan(e.lam)]


def _images_seen(evaluation: Evaluation, failed: Sequence[Evaluation]) -> int:
    """Return how much of the plan was tried at a λ, as a prefix."""
    tried = [e.images[-1][1] for e in failed if e.lam == evaluation.lam and e.images]
    return max([max(evaluation.scores) + 1, *tried])


def _next(
    evidence: Evidence, pending: Sequence[float], *, taken: Sequence[float], failed: Sequence[float]
) -> float:
    opening = _opening(evidence, pending, taken=taken, failed=failed)
    if opening is not None:
        return opening
    config = evidence.config
    lam = next_lam(
        evidence.surrogate,
        acquisition=config.acquisition,
        taken=taken,
        pending=[*pending, *failed],
        feasible=evidence.feasible,
        observed=config.answers_observed,
    )
    return _rounded(lam, config.bounds)


def _opening(
    evidence: Evidence,
    pending: Sequence[float],
    *,
    taken: Sequence[float] = (),
    failed: Sequence[float] = (),
) -> float | None:
    """Return the next λ of the initial design, or of a gap; None once there is enough to fit."""
    config = evidence.config
    low, high = config.bounds
    clearance = CLEARANCE * (high - low)
    known = [*evidence.lams, *pending]
    occupied = [*known, *taken, *failed]
    kind = "uniform" if config.is_algorithm_2 else "anchored"
    design = initial_lams(INITIAL_DESIGN, bounds=config.bounds, seed=config.seed, design=kind)
    free = [lam for lam in design if _is_clear(lam, occupied, clearance)]
    if free and _count_places(known, clearance) < INITIAL_DESIGN:
        return _rounded(free[0], config.bounds)
    if len(evidence.lams) > 1:  # one says nothing about differences, which are what is modelled
        return None
    return _rounded(_middle_of_widest_gap(occupied, config.bounds), config.bounds)


def _rounded(lam: float, bounds: tuple[float, float]) -> float:
    low, high = bounds
    return min(max(round(lam, _DIGITS - math.ceil(math.log10(high - low))), low), high)


def _is_clear(lam: float, taken: Sequence[float], clearance: float) -> bool:
    return all(abs(lam - other) >= clearance for other in taken)


def _count_places(lams: Sequence[float], clearance: float) -> int:
    """Count λs, those closer than the clearance as one."""
    places: list[float] = []
    for lam in lams:
        if _is_clear(lam, places, clearance):
            places.append(lam)
    return len(places)


def _middle_of_widest_gap(taken: Sequence[float], bounds: tuple[float, float]) -> float:
    gaps = itertools.pairwise(sorted({*taken, *bounds}))
    left, right = max(gaps, key=lambda gap: gap[1] - gap[0])
    return (left + right) / 2
