"""Held-out confirmation: the answer against both ends, on prompts that the search has not seen.

The search picks λ* by its own images, so that these flatter it. A second study of the same
database evaluates λ = 0, λ = 1 and λ* on other prompts and other seeds, the same ones at all three,
so that its differences are paired and owe nothing to the search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.special import stdtrit

from lamsearch.errors import StudyError
from lamsearch.evaluated import EvaluatedLam, evaluated_lams
from lamsearch.observations import observe
from lamsearch.others import other_means, other_names
from lamsearch.records import Evaluation
from lamsearch.study import Study

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
        images: Images at each λ.
        values: λ = 0, λ = 1 and λ*, in the order of their λs.
        differences: λ* against each of the others, the optimised reward first.
    """

    study: str
    images: int
    values: tuple[EvaluatedLam, ...]
    differences: tuple[Difference, ...]


class FixedLams(BaseSampler):
    """Proposes given λs, each once; an evaluation that failed is tried again.

    Args:
        lams: In the order of their turns.
    """

    def __init__(self, lams: Sequence[float]) -> None:
        self._lams = tuple(lams)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return no relative space: the one parameter is proposed when it is asked for."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as there is no relative space."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> float:
        """Return the first λ that no other trial has; workers ask in turns."""
        states = (TrialState.COMPLETE, TrialState.RUNNING)
        trials = study.get_trials(deepcopy=False, states=states)
        taken = [t.params.get(param_name) for t in trials if t.number != trial.number]
        return next(lam for lam in self._lams if lam not in taken)


def confirmation_lams(lam: float) -> tuple[float, ...]:
    """Return the λs to evaluate, without repetition: λ = 0, λ = 1 and λ* = `lam`."""
    return tuple(dict.fromkeys((0.0, 1.0, _rounded(lam))))


def open_confirmation(study: str, storage: str | None, lam: float) -> Study:
    """Open the study that confirms λ* = `lam` of a study, a new one where there is none."""
    lams = confirmation_lams(lam)
    bounds = (min(lams), max(lams))
    return Study(_name(study, lam), storage, sampler=FixedLams(lams), bounds=bounds)


def stored_confirmation(study: str, storage: str | None, lam: float) -> Confirmation | None:
    """Return the confirmation of λ* = `lam` of a study, None where it is absent or unfinished."""
    try:
        return confirmation(Study(_name(study, lam), storage), lam)
    except StudyError:
        return None


def confirmation(study: Study, lam: float) -> Confirmation | None:
    """Return what a confirming study says of λ* = `lam`, None where it is unfinished."""
    finished = {evaluation.lam: evaluation for evaluation in study.evaluations()}
    lams = confirmation_lams(lam)
    if not all(each in finished for each in lams):
        return None
    chosen = [finished[each] for each in sorted(lams)]
    observations = observe([e.lam for e in chosen], [e.row for e in chosen])
    answer = finished[_rounded(lam)]
    ends = [finished[each] for each in lams if each != answer.lam]
    return Confirmation(
        study=study.name,
        images=max(len(e.scores) for e in chosen),
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
            rows = [e.row if name is None else e.other_row(name) for e in (answer, end)]
            compared = paired_difference(*rows)
            if compared is not None:
                yield Difference(name or reward, end.lam, *compared)


def _rounded(lam: float) -> float:
    return round(lam, _DIGITS) + 0.0  # no negative zero


def _name(study: str, lam: float) -> str:
    return f"{study}/confirm-{_rounded(lam):.{_DIGITS}f}"
