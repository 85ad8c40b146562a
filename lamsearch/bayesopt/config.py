"""How λ is searched: the options that a search of images and one of any function share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState

from lamsearch.bayesopt.constraint import Constraint, parse_constraint
from lamsearch.bayesopt.image_allocation import Step
from lamsearch.bayesopt.optuna_sampler import LamSampler, checked_seed
from lamsearch.bayesopt.policy import History, propose_step
from lamsearch.bayesopt.recommendation import Tolerance, should_stop
from lamsearch.bayesopt.strategy import CHOICES, Strategy
from lamsearch.errors import SettingsError
from lamsearch.study.records import Evaluation, merged

_LARGEST_BOUND, _LEAST_WIDTH = 1e6, 1e-6
"""Of λ. Beyond, it would not be told apart where it is stored by name, or rounded."""


@dataclass(frozen=True)
class SearchOptions:
    """Checked when made.

    Attributes:
        budget: Evaluations, at least 1.
        bounds: λ's range (low, high).
        seed: Of the initial design, from 0.
        strategy: How the curve is modelled, λ proposed, and the answer given.
        constraint: On another reward, or None.
        confidence: Probability that is asked of the constraint and of the stopping rule.
        tolerance: ε of the stopping rule; None: no stop before the budget is used.

    Raises:
        SettingsError: If an option is out of its range.
    """

    budget: int = 12
    bounds: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    strategy: Strategy = field(default_factory=Strategy)
    constraint: Constraint | None = None
    confidence: float = 0.95
    tolerance: Tolerance | None = None

    def __post_init__(self) -> None:
        low, high = self.bounds
        if self.budget < 1:
            raise SettingsError(f"budget {self.budget} given, expected at least 1 evaluation")
        if not (max(abs(low), abs(high)) <= _LARGEST_BOUND and high - low >= _LEAST_WIDTH):
            raise SettingsError(
                f"bounds {low:g} {high:g} given, expected LO < HI: numbers up to "
                f"{_LARGEST_BOUND:g} that differ by {_LEAST_WIDTH:g} or more"
            )
        checked_seed(self.seed)
        if not 0 < self.confidence < 1:
            raise SettingsError(f"confidence {self.confidence:g} given, expected 0 < P < 1")
        guard = self.constraint
        if guard is not None and guard.level is None and not low <= 0 <= high:
            raise SettingsError(
                f"constraint '{guard.text}' compares with λ = 0, which the bounds {low:g} {high:g} "
                f"leave out: widen them, or give a level, such as '{guard.name} >= 0.35'"
            )

    def manifest(self, beta: float | None) -> dict[str, Any]:
        """Return what a study's proposals depend on, as JSON; the budget may change."""
        facts: dict[str, Any] = {
            "beta": None if beta is None else float(beta),
            "bounds": [float(bound) for bound in self.bounds],
            "seed": int(self.seed),
            **self.strategy.manifest(),
        }
        if self.constraint is not None:
            facts |= {"constraint": self.constraint.text, "confidence": self.confidence}
        return facts

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> SearchOptions:
        """Return the options that a study's manifest holds."""
        low, high = manifest["bounds"]
        choices = {name: manifest[name] for name in CHOICES if name in manifest}
        text = manifest.get("constraint")
        return cls(
            bounds=(low, high),
            seed=manifest.get("seed", 0),
            strategy=Strategy(**choices),
            constraint=None if text is None else parse_constraint(text),
            confidence=manifest.get("confidence", 0.95),
        )

    def history(self) -> History:
        """Return the history of a study that has not begun."""
        return History(self.bounds, constraint=self.constraint, strategy=self.strategy)

    def sampler(self) -> LamSampler:
        """Return the sampler that proposes λ."""
        return LamSampler(self.seed, self.strategy, constraint=self.constraint)

    def enough(self, evaluations: Sequence[Evaluation]) -> bool:
        """Tell whether λ* is within ε of the best with the confidence asked, under the model."""
        if self.tolerance is None or not evaluations:
            return False
        history = History.of(merged(evaluations), self.history())
        return should_stop(
            history.surrogate,
            tolerance=self.tolerance,
            confidence=self.confidence,
            feasible=history.feasible,
            observed=self.strategy.observed,
        )

    def allocate(self, evaluations: Sequence[Evaluation], left: int) -> Step:
        """Return the next λ and its images, where the budget of images has so many left.

        Images without any usable score are not tried again: a failed evaluation counts as done.
        """
        complete = merged([e for e in evaluations if e.state == TrialState.COMPLETE])
        running = [e for e in evaluations if e.state == TrialState.RUNNING]
        scored = {evaluation.lam for evaluation in complete}
        failed = [e for e in evaluations if e.state == TrialState.FAIL]
        history = dataclasses.replace(
            History.of(complete, self.history()),
            failed=[e.lam for e in failed if e.lam not in scored],
        )
        return propose_step(
            history,
            [_images_seen(evaluation, failed) for evaluation in complete],
            pending=[Step(e.lam, *e.image_range) for e in running if e.image_range is not None],
            limit=left,
            seed=self.seed,
        )


def _images_seen(evaluation: Evaluation, failed: Sequence[Evaluation]) -> int:
    """How much of the plan was tried at a λ; another worker may still be at the middle of it."""
    tried = [e.image_range[1] for e in failed if e.lam == evaluation.lam and e.image_range]
    return max([max(evaluation.scores) + 1, *tried])


def parse_tolerance(epsilon: float | str | None) -> Tolerance | None:
    """Read ε: a number in the units of the scores, or text such as "0.002" or "5%".

    Raises:
        SettingsError: If it is neither, or not above 0.
    """
    if epsilon is None:
        return None
    text = str(epsilon).strip()
    relative = text.endswith("%")
    try:
        amount = float(text.removesuffix("%")) / (100 if relative else 1)
    except ValueError:
        amount = math.nan
    if not (0 < amount < math.inf):
        raise SettingsError(
            f"epsilon {epsilon!r} given, expected how much of the score may be lost: a number "
            "above 0, or a share of the curve's range such as 5%"
        )
    return Tolerance(amount, relative)
