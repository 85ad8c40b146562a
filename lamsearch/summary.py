"""Study → Summary: the answer of a search as plain data; no drawing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lamsearch.errors import StudyError
from lamsearch.observations import Observations, observe
from lamsearch.recommendation import recommend
from lamsearch.storage import shown
from lamsearch.study import Evaluation, Study
from lamsearch.surrogate import Surrogate, fit_surrogate


@dataclass(frozen=True)
class EvaluatedLam:
    """One evaluation.

    Attributes:
        number: Of the trial, from 0.
        lam: λ.
        effective_beta: β/λ; infinite at λ = 0, None where β is unknown.
        value: Mean score R̂ over the images that are there at every λ.
        stderr: Standard error of `value` for comparisons with the other λs: what is left once the
            images' common effect is removed. None where nothing is known of it.
        images: Images asked for.
        missing: How many of them could not be used.
    """

    number: int
    lam: float
    effective_beta: float | None
    value: float
    stderr: float | None
    images: int
    missing: int


@dataclass(frozen=True)
class BestObserved:
    """The evaluation with the highest mean score, the paper's answer; biased upward by noise."""

    lam: float
    value: float


@dataclass(frozen=True)
class Summary:
    """The answer of a search; the fields are those of the command line's JSON.

    Attributes:
        lam: λ*, the argmax of the posterior mean of J.
        effective_beta: β/λ*; infinite at λ* = 0, None where β is unknown.
        value: Estimate of J(λ*).
        value_stderr: Its standard error, for new images of the same kind.
        lam_interval: 95 % interval of λ*, under the model.
        best_observed: The best evaluation as it stands.
        evaluations: All evaluations in the order of their numbers.
        anchor: Name of the anchor, None for a search over one's own function.
        reward: Name of the reward, likewise.
        study: Name of the study.
        storage: URL of its database without a password, None if in memory.
        seconds: Time spent on evaluations, whenever that was.
        beta: The anchor's β, None where it is unknown. Not in the JSON.
        surrogate: The fitted BoTorch model. Not in the JSON.
    """

    lam: float
    effective_beta: float | None
    value: float
    value_stderr: float
    lam_interval: tuple[float, float]
    best_observed: BestObserved
    evaluations: tuple[EvaluatedLam, ...]
    anchor: str | None
    reward: str | None
    study: str
    storage: str | None
    seconds: float
    beta: float | None
    surrogate: Surrogate = dataclasses.field(repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("beta", "surrogate")
        }
        fields["lam_interval"] = list(self.lam_interval)
        fields["best_observed"] = dataclasses.asdict(self.best_observed)
        fields["evaluations"] = [_finite(dataclasses.asdict(e)) for e in self.evaluations]
        return _finite(fields)


def summarize(study: Study) -> Summary:
    """Return the answer of a study.

    Raises:
        StudyError: If no evaluation is finished.
    """
    evaluations = study.evaluations()
    if not evaluations:
        raise StudyError(f"study '{study.name}' has no finished evaluation yet: run it first")
    manifest = study.manifest
    low, high = manifest.get("bounds", (0.0, 1.0))
    beta = manifest.get("beta")
    observations = observe([e.lam for e in evaluations], [e.row for e in evaluations])
    surrogate = fit_surrogate(observations, bounds=(low, high))
    answer = recommend(surrogate)
    return Summary(
        lam=answer.lam,
        effective_beta=effective_beta(beta, answer.lam),
        value=answer.value,
        value_stderr=answer.value_stderr,
        lam_interval=answer.lam_interval,
        best_observed=BestObserved(*answer.best_observed),
        evaluations=_evaluated(evaluations, observations, beta),
        anchor=manifest.get("anchor"),
        reward=manifest.get("reward"),
        study=study.name,
        storage=shown(study.storage),
        seconds=sum(e.seconds for e in evaluations),
        beta=beta,
        surrogate=surrogate,
    )


def effective_beta(beta: float | None, lam: float) -> float | None:
    """Return β/λ, infinite at λ = 0; None where β is unknown."""
    if beta is None:
        return None
    return beta / lam if lam else math.inf


def _evaluated(
    evaluations: Sequence[Evaluation], observations: Observations, beta: float | None
) -> tuple[EvaluatedLam, ...]:
    # A single evaluation has nothing to be compared with: its error is that of its mean.
    variances = observations.variances + (
        observations.offset_variance if len(evaluations) == 1 else 0
    )
    rows = []
    figures = zip(evaluations, observations.values.tolist(), variances.tolist(), strict=True)
    for evaluation, value, variance in figures:
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
            )
        )
    return tuple(rows)


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in values.items()
    }
