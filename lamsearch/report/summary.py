"""The answer of a search as plain data: what tables, figures and JSON are made from."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from lamsearch.bayesopt.recommendation import Gain
from lamsearch.report.confirmation import Confirmation
from lamsearch.report.json_form import NOT_JSON, to_json
from lamsearch.report.onset import Onset
from lamsearch.report.people import People
from lamsearch.report.rows import EvaluatedLam
from lamsearch.report.tracked_rewards import TrackedReward
from lamsearch.surrogate.model import Surrogate


@dataclass(frozen=True)
class BestObserved:
    """The evaluation with the highest mean score, the paper's answer.

    Attributes:
        lam: λ.
        value: Its mean score, biased upward by noise.
    """

    lam: float
    value: float


@dataclass(frozen=True)
class Within:
    """P(J(λ*) ≥ max J − ε), under the model.

    Attributes:
        epsilon: ε, in the units of the scores.
        probability: The probability.
        expected_loss: Mean of max J − J(λ*).
    """

    epsilon: float
    probability: float
    expected_loss: float


@dataclass(frozen=True)
class ConstraintCheck:
    """What is known of the constraint at λ*.

    Attributes:
        text: The constraint.
        confidence: The required probability.
        probability: Posterior probability that it holds at λ*.
    """

    text: str
    confidence: float
    probability: float

    @property
    def met(self) -> bool:
        """Whether it holds with the required probability."""
        return self.probability >= self.confidence


@dataclass(frozen=True)
class Note:
    """One caveat.

    Attributes:
        code: What kind it is, for programs: "bound", "image_noise", "few_images", "unfinished",
            "stopped_early", "tracked_falls", "constraint_unmet", "no_beta", "agreement",
            "failed", "constant", "people", "images_drift", "no_manifest" or "unconfirmed".
        text: The sentence, for people.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Summary:
    """The answer of a search; the fields are those of the command line's JSON.

    Attributes:
        lam: λ*, the argmax of the posterior mean of J.
        effective_beta: β/λ*; infinite at λ* = 0, None where there is no β, and at λ* < 0.
        value: Estimate of J(λ*).
        value_stderr: Its standard error, for new images of the same kind.
        lam_interval: 95 % interval of λ*, under the model.
        gain_over_reference: J(λ*) − J(0), a paired difference; None where the bounds leave 0 out.
        gain_over_aligned: J(λ*) − J(1), likewise.
        within: How probably J(λ*) is near the best, under the model.
        limited_by: "images" where more of these would help and more λs would not; else None.
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
        people: People's λ* from votes on the images, None where nobody voted.
        onset: Where the kept images leave the reference's range while the reward is above that of
            the reference; None where they do not, or nothing is known of it.
        notes: Caveats: what to know before trusting the answer.
        beta: The anchor's β, None where there is none. Not in the JSON.
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
    people: People | None
    onset: Onset | None
    notes: tuple[Note, ...]
    beta: float | None = dataclasses.field(metadata=NOT_JSON)
    surrogate: Surrogate = dataclasses.field(repr=False, compare=False, metadata=NOT_JSON)

    def with_note(self, note: Note) -> Summary:
        """Return the summary with one more note."""
        return dataclasses.replace(self, notes=(*self.notes, note))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values; an infinite β is null."""
        return to_json(self)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the answer, its caveats and the curve."""
        from lamsearch.report.html.notebook import small_html

        return small_html(self)
