"""Study → Summary: the answer of a search as plain data; no drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lamsearch.bayesopt.config import FIVE_PERCENT, SearchConfig, Tolerance
from lamsearch.bayesopt.evidence import Evidence
from lamsearch.bayesopt.recommendation import Gain, Recommendation, recommend
from lamsearch.errors import StudyError
from lamsearch.report.confirmation import Confirmation, stored_confirmation
from lamsearch.report.json_form import to_json
from lamsearch.report.notes import Note, answer_notes, stopped_early
from lamsearch.report.rows import EvaluatedLam, effective_beta, evaluated_lams
from lamsearch.report.tracked_rewards import (
    TrackedReward,
    tracked_means,
    tracked_reward,
    tracked_surrogates,
)
from lamsearch.study.database import Study
from lamsearch.study.history import Budget, merged
from lamsearch.study.records import Evaluation
from lamsearch.study.storage import redacted_url
from lamsearch.surrogate.model import Surrogate

_MOST = 0.5
"""If only more images can reduce more than this share of the expected loss, they are the limit."""


@dataclass(frozen=True)
class BestObserved:
    """The evaluation with the highest mean score, the paper's answer; biased upward by noise."""

    lam: float
    value: float


@dataclass(frozen=True)
class Within:
    """P(J(λ*) ≥ max J − ε), under the model.

    Attributes:
        epsilon: ε, in the units of the scores.
        probability: The probability.
    """

    epsilon: float
    probability: float


@dataclass(frozen=True)
class ConstraintCheck:
    """What is known of the constraint at λ*.

    Attributes:
        text: The constraint.
        confidence: Probability that was asked for.
        probability: Posterior probability that it holds at λ*.
    """

    text: str
    confidence: float
    probability: float

    @property
    def met(self) -> bool:
        """Whether it holds with the confidence asked."""
        return self.probability >= self.confidence


@dataclass(frozen=True)
class Summary:
    """The answer of a search; the fields are those of the command line's JSON.

    Attributes:
        lam: λ*, the argmax of the posterior mean of J.
        effective_beta: β/λ*; infinite at λ* = 0, None where β is unknown.
        value: Estimate of J(λ*).
        value_stderr: Its standard error, for new images of the same kind.
        lam_interval: 95 % interval of λ*, under the model.
        gain_over_reference: J(λ*) − J(0), a paired difference; None where the bounds leave 0 out.
        gain_over_aligned: J(λ*) − J(1), likewise.
        within: How probably J(λ*) is near the best, under the model.
        limited_by: "images" where more of these would help and more λs hardly; else None.
        best_observed: The best evaluation as it stands.
        evaluations: All finished evaluations in the order of their numbers.
        unfinished: How many are under way, or were interrupted: the answer may still change.
        anchor: Name of the anchor, None for a search over one's own function.
        reward: Name of the reward or the weighted sum, likewise.
        study: Name of the study.
        storage: URL of its database without a password, None if in memory.
        seconds: Time spent on evaluations, whenever that was.
        others: The tracked rewards, at λ*.
        constraint: The constraint at λ*, None without one.
        confirmation: λ* on held-out images, None where it was not requested or is unfinished.
        notes: Caveats: what to know before trusting the answer.
        beta: The anchor's β, None where it is unknown. Not in the JSON.
        surrogate: The fitted model of J. Not in the JSON.
    """

    lam: float
    effective_beta: float | None
    value: float
    value_stderr: float
    lam_interval: tuple[float, float]
    gain_over_reference: Gain | None
    gain_over_aligned: Gain | None
    within: Within
    limited_by: str | None
    best_observed: BestObserved
    evaluations: tuple[EvaluatedLam, ...]
    unfinished: int
    anchor: str | None
    reward: str | None
    study: str
    storage: str | None
    seconds: float
    others: tuple[TrackedReward, ...]
    constraint: ConstraintCheck | None
    confirmation: Confirmation | None
    notes: tuple[Note, ...]
    beta: float | None
    surrogate: Surrogate = dataclasses.field(repr=False, compare=False)

    def with_note(self, note: Note) -> Summary:
        """Return the summary with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        return to_json(self)


def summarize(study: Study, tolerance: Tolerance | None = None) -> Summary:
    """Return the answer of a study, and its confirmation if the database holds one.

    Args:
        study: With at least one finished evaluation.
        tolerance: ε for `Summary.within`, by default 5 % of the curve's range.

    Raises:
        StudyError: If no evaluation is finished.
    """
    history, manifest = study.history(), study.manifest
    bounds = manifest.get("bounds") or history.bounds or (0.0, 1.0)
    evaluations = merged(history.within(bounds).finished)
    if not evaluations:
        raise StudyError(f"study '{study.name}' has no finished evaluation yet: run it first")
    config = SearchConfig.from_manifest({"bounds": bounds, **manifest})
    evidence = Evidence.from_evaluations(evaluations, config)
    answer = _answer(evidence, tolerance or FIVE_PERCENT)
    summary = Summary(
        **_answer_fields(answer, config),
        effective_beta=effective_beta(manifest.get("beta"), answer.lam),
        evaluations=evaluated_lams(
            evaluations,
            evidence.surrogate.observations,
            beta=manifest.get("beta"),
            tracked=tracked_means(evaluations),
        ),
        unfinished=len(history.running),
        anchor=manifest.get("anchor"),
        reward=manifest.get("reward"),
        study=study.name,
        storage=redacted_url(study.storage),
        seconds=sum(e.seconds for e in evaluations),
        others=_tracked(evaluations, config, answer.lam),
        constraint=_constraint_check(evidence, answer.lam),
        confirmation=stored_confirmation(study, answer.lam),
        notes=(),
        beta=manifest.get("beta"),
        surrogate=evidence.surrogate,
    )
    return dataclasses.replace(summary, notes=tuple(answer_notes(summary)))


def conclude(study: Study, config: SearchConfig, budget: Budget) -> Summary:
    """Return the answer of a search that just ended, saying so if its budget is not used up.

    Raises:
        StudyError: If no evaluation is finished.
    """
    summary = summarize(study, config.epsilon)
    sure = summary.within.probability >= config.confidence
    images = sum(evaluation.images for evaluation in summary.evaluations)
    used = images if budget.counts_images else len(summary.evaluations)
    if config.epsilon is None or not sure or used >= budget.amount:
        return summary
    return summary.with_note(stopped_early(summary, budget, config.epsilon))


def _answer(evidence: Evidence, tolerance: Tolerance) -> Recommendation:
    config = evidence.config
    if config.constraint is not None and evidence.feasible is None:
        name = config.constraint.name
        raise StudyError(f"no score of the constraint's reward '{name}' in the study")
    return recommend(
        evidence.surrogate,
        observed=config.answers_observed,
        tolerance=tolerance,
        feasible=evidence.feasible,
        confidence=config.confidence,
    )


def _answer_fields(answer: Recommendation, config: SearchConfig) -> dict[str, Any]:
    """Return the summary's fields that are the recommendation's."""
    low, high = config.bounds
    return {
        "lam": answer.lam,
        "value": answer.value,
        "value_stderr": answer.value_stderr,
        "lam_interval": answer.lam_interval,
        "gain_over_reference": answer.gain_over_reference if low <= 0 <= high else None,
        "gain_over_aligned": answer.gain_over_aligned if low <= 1 <= high else None,
        "within": Within(answer.epsilon, answer.probability),
        "limited_by": "images" if (answer.plan_share or 0) > _MOST else None,
        "best_observed": BestObserved(*answer.best_observed),
    }


def _tracked(
    evaluations: Sequence[Evaluation], config: SearchConfig, lam: float
) -> tuple[TrackedReward, ...]:
    surrogates = tracked_surrogates(evaluations, bounds=config.bounds)
    return tuple(tracked_reward(fitted, name, lam) for name, fitted in surrogates.items())


def _constraint_check(evidence: Evidence, lam: float) -> ConstraintCheck | None:
    constraint, feasible = evidence.config.constraint, evidence.feasible
    if constraint is None or feasible is None:
        return None
    probability = feasible(torch.tensor([lam], dtype=torch.float64)).item()
    return ConstraintCheck(constraint.text, evidence.config.confidence, probability)
