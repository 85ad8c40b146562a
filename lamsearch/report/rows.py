"""Evaluations as they are reported: one row per λ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lamsearch.study.records import Evaluation
from lamsearch.surrogate.observations import Observations


@dataclass(frozen=True)
class EvaluatedLam:
    """One evaluation.

    Attributes:
        number: Number of the trial, from 0.
        lam: λ.
        effective_beta: β/λ; infinite at λ = 0, None where there is no β, and at λ < 0.
        value: Mean score R̂, comparable between λs also where images are missing at some of them.
        stderr: Standard error of `value` for comparisons with the other λs: what is left once the
            images' common effect is removed. None where nothing is known of it.
        images: Number of images requested.
        missing: Number of those that could not be used.
        others: Name of a tracked reward → its mean, None where it has no score.
    """

    number: int
    lam: float
    effective_beta: float | None
    value: float
    stderr: float | None
    images: int
    missing: int
    others: Mapping[str, float | None]


def effective_beta(beta: float | None, lam: float) -> float | None:
    """Return β/λ, infinite at λ = 0; None where there is no β, or λ < 0 emulates no strength."""
    if beta is None or lam < 0:
        return None
    return beta / lam if lam else math.inf


def beta_text(beta: float | None) -> str:
    """Return a KL strength for people: ∞ where it is infinite, – where there is none."""
    if beta is None:
        return "–"
    if math.isinf(beta):
        return "∞"
    return f"{beta:.0f}" if abs(beta) >= 100 else f"{beta:.3g}"


def evaluated_lams(
    evaluations: Sequence[Evaluation],
    observations: Observations,
    *,
    beta: float | None,
    tracked: Mapping[str, Sequence[float]],
) -> tuple[EvaluatedLam, ...]:
    """Return the rows of n evaluations.

    Args:
        evaluations: The evaluations.
        observations: The observations made from their scores.
        beta: KL strength of the anchor, None where there is none.
        tracked: Name of a tracked reward → its n means, NaN = none.
    """
    # A single evaluation has nothing to be compared with: its error is that of its mean.
    variances = observations.variances + (
        observations.offset_variance if len(evaluations) == 1 else 0
    )
    rows = []
    figures = zip(evaluations, observations.values.tolist(), variances.tolist(), strict=True)
    for index, (evaluation, value, variance) in enumerate(figures):
        present = [score for score in evaluation.scores.values() if not math.isnan(score)]
        rows.append(
            EvaluatedLam(
                number=evaluation.number,
                lam=evaluation.lam,
                effective_beta=effective_beta(beta, evaluation.lam),
                value=value,
                stderr=None if math.isnan(variance) else math.sqrt(variance),
                images=len(evaluation.scores),
                missing=len(evaluation.scores) - len(present),
                others={
                    name: None if math.isnan(means[index]) else means[index]
                    for name, means in tracked.items()
                },
            )
        )
    return tuple(rows)
