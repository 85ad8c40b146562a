"""Study → Summary: the answer of a search as plain data; no drawing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from lamsearch.bayesopt.config import SearchOptions
from lamsearch.bayesopt.policy import History
from lamsearch.bayesopt.recommendation import (
    FIVE_PERCENT,
    Gain,
    Recommendation,
    Tolerance,
    recommend,
)
from lamsearch.errors import StudyError
from lamsearch.report.confirmation import Confirmation, stored_confirmation
from lamsearch.report.rows import EvaluatedLam, effective_beta, evaluated_lams
from lamsearch.report.tracked_rewards import (
    OtherReward,
    other_means,
    other_reward,
    other_surrogates,
)
from lamsearch.study.database import Study
from lamsearch.study.records import merged
from lamsearch.study.storage import shown
from lamsearch.surrogate.model import Surrogate

_NOT_JSON = ("beta", "surrogate")

_MOST = 0.5
"""Share of the expected loss that only more images can reduce, above which this is said."""


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
        others: The other rewards that were recorded, at λ*.
        constraint: The constraint at λ*, None where there is none.
        confirmation: λ* on held-out images, None where that was not asked for or is unfinished.
        beta: The anchor's β, None where it is unknown. Not in the JSON.
        surrogate: The fitted BoTorch model. Not in the JSON.
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
    others: tuple[OtherReward, ...]
    constraint: ConstraintCheck | None
    confirmation: Confirmation | None
    beta: float | None
    surrogate: Surrogate = dataclasses.field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        return _fields(self)


def summarize(study: Study, tolerance: Tolerance | None = None) -> Summary:
    """Return the answer of a study, and its confirmation if the database holds one.

    Args:
        study: With one finished evaluation or more.
        tolerance: ε for `Summary.within`, by default 5 % of the curve's range.

    Raises:
        StudyError: If no evaluation is finished.
    """
    unfinished = study.unfinished  # asked first: what ends meanwhile is counted
    evaluations = merged(study.evaluations())
    if not evaluations:
        raise StudyError(f"study '{study.name}' has no finished evaluation yet: run it first")
    manifest = study.manifest
    beta = manifest.get("beta")
    options = SearchOptions.of({"bounds": study.bounds, **manifest})
    history = History.of(evaluations, options.history())
    answer, check = _answer(history, options, tolerance or FIVE_PERCENT)
    low, high = options.bounds
    others = other_surrogates(evaluations, bounds=options.bounds)
    return Summary(
        lam=answer.lam,
        effective_beta=effective_beta(beta, answer.lam),
        value=answer.value,
        value_stderr=answer.value_stderr,
        lam_interval=answer.lam_interval,
        gain_over_reference=answer.gain_over_reference if low <= 0 <= high else None,
        gain_over_aligned=answer.gain_over_aligned if low <= 1 <= high else None,
        within=Within(answer.epsilon, answer.probability),
        limited_by="images" if (answer.plan_share or 0) > _MOST else None,
        best_observed=BestObserved(*answer.best_observed),
        evaluations=evaluated_lams(
            evaluations,
            history.surrogate.observations,
            beta=beta,
            others=other_means(evaluations),
        ),
        unfinished=unfinished,
        anchor=manifest.get("anchor"),
        reward=manifest.get("reward"),
        study=study.name,
        storage=shown(study.storage),
        seconds=sum(e.seconds for e in evaluations),
        others=tuple(other_reward(fit, name, answer.lam) for name, fit in others.items()),
        constraint=check,
        confirmation=stored_confirmation(study.name, study.storage, answer.lam),
        beta=beta,
        surrogate=history.surrogate,
    )


def _answer(
    history: History, options: SearchOptions, tolerance: Tolerance
) -> tuple[Recommendation, ConstraintCheck | None]:
    """Recommend λ*, and check the constraint there."""
    constraint, feasible = options.constraint, history.feasible
    if constraint is not None and feasible is None:
        raise StudyError(f"no score of the constraint's reward '{constraint.name}' in the study")
    answer = recommend(
        history.surrogate,
        observed=options.strategy.observed,
        tolerance=tolerance,
        feasible=feasible,
        confidence=options.confidence,
    )
    if constraint is None or feasible is None:
        return answer, None
    probability = feasible(torch.tensor([answer.lam], dtype=torch.float64)).item()
    return answer, ConstraintCheck(constraint.text, options.confidence, probability)


def _fields(value: Any) -> dict[str, Any]:
    names = (field.name for field in dataclasses.fields(value) if field.name not in _NOT_JSON)
    return {name: _json(getattr(value, name)) for name in names}


def _json(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _fields(value)
    if isinstance(value, Mapping):
        return {key: _json(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
