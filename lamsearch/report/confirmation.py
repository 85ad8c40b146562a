"""What held-out images say about the answer: λ* against both ends, on prompts new to the search.

The search picks λ* by its own images, so these flatter it. A second study of the same database
(`lamsearch.confirm`) evaluates λ = 0, λ = 1 and λ* on other prompts and seeds, the same ones at all
three, so that its differences are paired and owe nothing to the search.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from lamsearch.evaluation.config import LEAST_IMAGES
from lamsearch.report.rows import EvaluatedLam, evaluated_lams
from lamsearch.report.tracked_rewards import tracked_means, tracked_names
from lamsearch.study.database import Study
from lamsearch.study.history import merged, score_rows
from lamsearch.study.records import Evaluation
from lamsearch.surrogate.pairing import observe

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
    """What held-out images say about the answer.

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


def stored_confirmation(study: Study, lam: float) -> Confirmation | None:
    """Return the confirmation of λ* = `lam` of a study, None where it is absent or unfinished."""
    found = study.find_beside(confirmation_name(study.name, lam))
    return None if found is None else read_confirmation(found, lam)


def read_confirmation(study: Study, lam: float) -> Confirmation | None:
    """Return what a confirming study says about λ* = `lam`, None where it is unfinished."""
    finished = {evaluation.lam: evaluation for evaluation in merged(study.history().finished)}
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
            chosen, observations, beta=study.manifest.get("beta"), tracked=tracked_means(chosen)
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
    names = tracked_names([answer, *ends])
    for name in (None, *names):
        for end in ends:
            compared = paired_difference(*score_rows([answer, end], name))
            if compared is not None:
                yield Difference(name or reward, end.lam, *compared)


def _rounded(lam: float) -> float:
    return round(lam, _DIGITS) + 0.0  # no negative zero


def confirmation_name(study: str, lam: float) -> str:
    """Return the name of the study that confirms λ* = `lam` of a study."""
    return f"{study}/confirm-{_rounded(lam):.{_DIGITS}f}"
