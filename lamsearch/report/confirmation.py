"""Held-out confirmation: the answer against both ends, on prompts that the search has not seen.

The search picks λ* by its own images, so that these flatter it. A second study of the same
database evaluates λ = 0, λ = 1 and λ* on other prompts and other seeds, the same ones at all three,
so that its differences are paired and owe nothing to the search. Asked for more images later, it
makes those that are missing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.samplers import RandomSampler
from optuna.trial import TrialState
from scipy.special import stdtrit

from lamsearch.bayesopt.image_allocation import Step
from lamsearch.errors import StudyError
from lamsearch.report.rows import EvaluatedLam, evaluated_lams
from lamsearch.report.tracked_rewards import other_means, other_names
from lamsearch.study.database import Study
from lamsearch.study.records import Evaluation, merged, score_rows, settled
from lamsearch.surrogate.observations import observe

LEAST_IMAGES = 2
"""A paired interval needs so many."""

_LEVEL = 0.95
_DIGITS = 6


@dataclass(frozen=True)
class Difference:
    """Mean score at λ* minus that at another λ, over the images that have both.

    Attributes:
        reward: Name of the reward.
        versus: The other λ.
        value: The mean paired difference.
        stderr: Its standard error.
        interval: Its 95 % interval, by Student's t.
        images: Images that have a score at both λs.
    """

    reward: str
    versus: float
    value: float
    stderr: float
    interval: tuple[float, float]
    images: int


@dataclass(frozen=True)
class Confirmation:
    """What held-out images say of the answer.

    Attributes:
        study: Name of the study that holds it.
        images: Images at λ*.
        values: λ = 0, λ = 1 and λ*, in the order of their λs.
        differences: λ* against each of the others, the optimised reward first.
    """

    study: str
    images: int
    values: tuple[EvaluatedLam, ...]
    differences: tuple[Difference, ...]


def confirmation_lams(lam: float) -> tuple[float, ...]:
    """Return the λs to evaluate, without repetition: λ = 0, λ = 1 and λ* = `lam`."""
    return tuple(dict.fromkeys((0.0, 1.0, _rounded(lam))))


def open_confirmation(study: str, storage: str | None, lam: float) -> Study:
    """Open the study that confirms λ* = `lam` of a study, a new one where there is none."""
    lams = confirmation_lams(lam)
    # What is next is enqueued (`next_missing`), and never sampled.
    return Study(_name(study, lam), storage, sampler=RandomSampler(), bounds=(min(lams), max(lams)))


def next_missing(
    lams: Sequence[float], images: int, evaluations: Sequence[Evaluation], left: int
) -> Step | None:
    """Return the first λ that has not seen so many images yet, and the images that it lacks.

    None where no λ lacks any.

    Args:
        lams: Of the confirmation.
        images: Wanted at each of them.
        evaluations: Those there are; what failed is tried again where nothing else was scored.
        left: Images left in the budget; none is set here but `images` at each λ.
    """
    seen = dict.fromkeys(lams, 0)
    running = [each for each in evaluations if each.state == TrialState.RUNNING]
    for evaluation in (*settled(evaluations), *running):
        if evaluation.image_range is not None:
            seen[evaluation.lam] = max(seen[evaluation.lam], evaluation.image_range[1])
    return next((Step(lam, seen[lam], images) for lam in lams if seen[lam] < images), None)


def stored_confirmation(study: str, storage: str | None, lam: float) -> Confirmation | None:
    """Return the confirmation of λ* = `lam` of a study, None where it is absent or unfinished."""
    try:
        return confirmation(Study(_name(study, lam), storage), lam)
    except StudyError:
        return None


def confirmation(study: Study, lam: float) -> Confirmation | None:
    """Return what a confirming study says of λ* = `lam`, None where it is unfinished."""
    finished = {evaluation.lam: evaluation for evaluation in merged(study.evaluations())}
    lams = confirmation_lams(lam)
    if not all(each in finished for each in lams):
        return None
    chosen = [finished[each] for each in sorted(lams)]
    observations = observe([e.lam for e in chosen], score_rows(chosen))
    answer = finished[_rounded(lam)]
    ends = [finished[each] for each in lams if each != answer.lam]
    return Confirmation(
        study=study.name,
        images=len(answer.scores),
        values=evaluated_lams(
            chosen, observations, beta=study.manifest.get("beta"), others=other_means(chosen)
        ),
        differences=tuple(_differences(answer, ends, study.manifest.get("reward", "score"))),
    )


def paired_difference(
    row: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[float, float, tuple[float, float], int] | None:
    """Compare the scores (m,) of m images, NaN = missing, with those at another λ.

    The images are taken as independent: where a plan repeats its prompts, the interval holds for
    new images of these prompts rather than for new prompts.

    Returns:
        The mean difference, its standard error, its interval by Student's t, and the number of
        images that have both scores; None where these are fewer than two.
    """
    pairs = row - other
    pairs = pairs[~np.isnan(pairs)]
    count = len(pairs)
    if count < LEAST_IMAGES:
        return None
    value, stderr = float(pairs.mean()), float(pairs.std(ddof=1)) / math.sqrt(count)
    margin = stderr * float(stdtrit(count - 1, (1 + _LEVEL) / 2))
    return value, stderr, (value - margin, value + margin), count


def _differences(
    answer: Evaluation, ends: Sequence[Evaluation], reward: str
) -> Iterator[Difference]:
    names = other_names([answer, *ends])
    for name in (None, *names):
        for end in ends:
            compared = paired_difference(*score_rows([answer, end], name))
            if compared is not None:
                yield Difference(name or reward, end.lam, *compared)


def _rounded(lam: float) -> float:
    return round(lam, _DIGITS) + 0.0  # no negative zero


def _name(study: str, lam: float) -> str:
    return f"{study}/confirm-{_rounded(lam):.{_DIGITS}f}"
