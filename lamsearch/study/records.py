"""What a trial of the study database holds: the scores of its images, batch by batch.

A batch is stored as one JSON value, `{"image_ids": …, "scores": …, "seconds": …, "of": …,
"others": …}`, NaN as null; `of` is the number of images in the whole plan, and `others` is there
only where other rewards than the optimised one were recorded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

PARAMETER = "lam"
IMAGE_RANGE_KEY = "images"
_BATCH_KEY = "scores:"

LARGEST_SCORE = 1e150
"""Of larger ones the squares overflow: they are as unusable as infinite ones."""


@dataclass(frozen=True)
class Batch:
    """Scores of some of a trial's images.

    Attributes:
        image_ids: Which images of the plan, B of them.
        scores: B scores of what is optimised; NaN = missing.
        seconds: Time it took to make and score them.
        others: Name of another reward → its B scores.
        plan_size: Images of the whole plan, if there are more than these.
    """

    image_ids: Sequence[int]
    scores: Sequence[float]
    seconds: float = 0.0
    others: Mapping[str, Sequence[float]] = field(default_factory=dict)
    plan_size: int = 0

    @property
    def key(self) -> str:
        """Name of the user attribute that holds it."""
        return f"{_BATCH_KEY}{min(self.image_ids):06d}"

    @property
    def finite(self) -> bool:
        """Whether no score is infinite, or as good as that."""
        rows = (self.scores, *self.others.values())
        return not any(abs(score) > LARGEST_SCORE for row in rows for score in row)

    def to_json(self) -> dict[str, Any]:
        """Return what is stored."""
        others = {name: _without_nan(row) for name, row in self.others.items()}
        return {
            "image_ids": list(self.image_ids),
            "scores": _without_nan(self.scores),
            "seconds": self.seconds,
            **({"of": self.plan_size} if self.plan_size else {}),
            **({"others": others} if others else {}),
        }


@dataclass(frozen=True)
class Evaluation:
    """A trial as the search sees it.

    Attributes:
        number: Of the trial, from 0.
        lam: λ.
        state: Optuna's state of the trial.
        scores: Image id → score of what is optimised, NaN = missing.
        seconds: Time spent on it.
        others: Name of another reward → image id → its score.
        plan_size: Images of the whole plan: two evaluations of one plan are paired by image id.
        image_range: Images start, …, stop − 1 of the plan are its own; None = as the plan has it.
    """

    number: int
    lam: float
    state: TrialState
    scores: Mapping[int, float]
    seconds: float
    others: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    plan_size: int = 0
    image_range: tuple[int, int] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> Evaluation:
        """Read a trial; one without batches, of a plain Optuna script, has its value as score.

        An infinite value is none.
        """
        batches = [
            attribute for key, attribute in trial.user_attrs.items() if key.startswith(_BATCH_KEY)
        ]
        scores = _by_image(batches, [batch["scores"] for batch in batches])
        value = usable_value(trial)
        if not batches and value is not None:
            scores = {0: value}
        recorded = [batch.get("others", {}) for batch in batches]
        names = dict.fromkeys(name for others in recorded for name in others)
        return cls(
            number=trial.number,
            lam=trial.params.get(PARAMETER, math.nan),
            state=trial.state,
            scores=scores,
            seconds=sum(batch["seconds"] for batch in batches),
            others={n: _by_image(batches, [others.get(n) for others in recorded]) for n in names},
            plan_size=max((batch.get("of", 0) for batch in batches), default=0),
            image_range=tuple(trial.user_attrs[IMAGE_RANGE_KEY])
            if IMAGE_RANGE_KEY in trial.user_attrs
            else None,
        )

    @property
    def row(self) -> NDArray[np.float64]:
        """Scores by image id, shape (images of the plan,), NaN where there is none."""
        return self._row(self.scores)

    def other_row(self, name: str) -> NDArray[np.float64]:
        """Scores of another reward by image id, shaped as `row`; all NaN if there are none."""
        return self._row(self.others.get(name, {}))

    def _row(self, scores: Mapping[int, float]) -> NDArray[np.float64]:
        row = np.full(max(self.plan_size, max(self.scores, default=-1) + 1), np.nan)
        row[list(scores)] = list(scores.values())
        return row


def usable_value(trial: FrozenTrial) -> float | None:
    """Return the value of a complete trial, None where a search cannot use it."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return value if value is not None and abs(value) <= LARGEST_SCORE else None


def settled(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Return what is not to be tried again: complete, or without a usable score where others are.

    An evaluation that failed at a λ where nothing was scored is: its cause may have been mended.
    """
    scored = {each.lam for each in evaluations if each.state == TrialState.COMPLETE}
    ends = (TrialState.COMPLETE, TrialState.FAIL)
    return [each for each in evaluations if each.state in ends and each.lam in scored]


def merged(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """Join what was evaluated at the same λ on other images, as `--images auto` does step by step.

    The result has number and state of the first. Evaluations of the same images are left alone: a
    plain Optuna script may repeat a λ, and then these are repetitions.

    Args:
        evaluations: In any order.

    Returns:
        At most as many, by number.
    """
    rows: list[Evaluation] = []
    for evaluation in sorted(evaluations, key=lambda e: e.number):
        for place, row in enumerate(rows):
            if row.lam == evaluation.lam and row.scores.keys().isdisjoint(evaluation.scores):
                rows[place] = _joined(row, evaluation)
                break
        else:
            rows.append(evaluation)
    return rows


def _joined(first: Evaluation, second: Evaluation) -> Evaluation:
    names = dict.fromkeys([*first.others, *second.others])
    return dataclasses.replace(
        first,
        scores={**first.scores, **second.scores},
        seconds=first.seconds + second.seconds,
        plan_size=max(first.plan_size, second.plan_size),
        others={n: {**first.others.get(n, {}), **second.others.get(n, {})} for n in names},
    )


def score_rows(
    evaluations: Sequence[Evaluation], name: str | None = None
) -> list[NDArray[np.float64]]:
    """Return the scores as `lamsearch.surrogate.observations.observe` takes them.

    Args:
        evaluations: n evaluations.
        name: Of another reward than the optimised one.

    Returns:
        n rows; those of images of a plan have one length, since the plan may have grown.
    """
    width = max((evaluation.plan_size for evaluation in evaluations), default=0)
    rows = []
    for evaluation in evaluations:
        row = evaluation.row if name is None else evaluation.other_row(name)
        missing = width - len(row) if evaluation.plan_size else 0
        rows.append(np.pad(row, (0, missing), constant_values=np.nan))
    return rows


def _by_image(
    batches: Sequence[Mapping[str, Any]], scores: Sequence[Sequence[float | None] | None]
) -> dict[int, float]:
    return {
        image_id: math.nan if score is None else score
        for batch, of_batch in zip(batches, scores, strict=True)
        if of_batch is not None
        for image_id, score in zip(batch["image_ids"], of_batch, strict=True)
    }


def _without_nan(scores: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(score) else float(score) for score in scores]
