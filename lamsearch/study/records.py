"""What a trial of the study database holds: one evaluation, its scores stored batch by batch.

A batch is one user attribute with the JSON value `{"image_ids": …, "scores": …, "seconds": …,
"of": …, "others": …}`, NaN as null. `of` is the number of images in the whole plan; `others` holds
the rewards recorded beside the objective, where there are any.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

PARAMETER = "lam"
IMAGES_KEY = "images"
_BATCH_KEY = "scores:"

LARGEST_SCORE = 1e150
"""Larger scores are as unusable as infinite ones: their squares overflow."""

ImageRanges = tuple[tuple[int, int], ...]
"""Half-open ranges (start, stop) of image ids, in order."""


@dataclass(frozen=True)
class Batch:
    """Scores of some of a trial's images.

    Attributes:
        image_ids: The B images, as positions in the plan.
        scores: B scores of the objective; NaN = missing.
        seconds: Time spent to generate and score them.
        tracked: Name of a tracked reward → its B scores.
        plan_size: Number of images in the whole plan, 0 if these are all.
    """

    image_ids: Sequence[int]
    scores: Sequence[float]
    seconds: float = 0.0
    tracked: Mapping[str, Sequence[float]] = field(default_factory=dict)
    plan_size: int = 0

    @property
    def key(self) -> str:
        """Name of the user attribute that stores this batch."""
        return f"{_BATCH_KEY}{min(self.image_ids):06d}"

    @property
    def is_finite(self) -> bool:
        """Whether no score is infinite or beyond `LARGEST_SCORE`."""
        rows = (self.scores, *self.tracked.values())
        return not any(abs(score) > LARGEST_SCORE for row in rows for score in row)

    def to_json(self) -> dict[str, Any]:
        """Return the stored JSON value."""
        tracked = {name: _nan_as_null(row) for name, row in self.tracked.items()}
        return {
            "image_ids": list(self.image_ids),
            "scores": _nan_as_null(self.scores),
            "seconds": self.seconds,
            **({"of": self.plan_size} if self.plan_size else {}),
            **({"others": tracked} if tracked else {}),
        }


@dataclass(frozen=True)
class Evaluation:
    """A trial as the search sees it.

    Attributes:
        number: The trial's number, from 0.
        lam: λ, as set or as enqueued; NaN while the trial has none.
        state: Optuna's state of the trial.
        scores: Image id → score of the objective, NaN = missing.
        seconds: Time spent on it.
        tracked: Name of a tracked reward → image id → its score.
        plan_size: Number of images in the whole plan: evaluations of one plan are paired by image
            id.
        images: Ranges of the image ids that this evaluation generates; None for a user's function,
            and in studies that an early version of lamsearch began.
        bounds: λ's range (low, high) when the trial was created, None if it has no range.
    """

    number: int
    lam: float
    state: TrialState
    scores: Mapping[int, float]
    seconds: float
    tracked: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    plan_size: int = 0
    images: ImageRanges | None = None
    bounds: tuple[float, float] | None = None

    @classmethod
    def from_trial(cls, trial: FrozenTrial, name: str = PARAMETER) -> Evaluation:
        """Read a trial.

        A trial without batches, as a plain Optuna script leaves it, counts its value as one score.
        Infinite values are ignored.

        Args:
            trial: Optuna's record.
            name: The parameter that is λ.
        """
        batches = [value for key, value in trial.user_attrs.items() if key.startswith(_BATCH_KEY)]
        scores = _by_image(batches, [batch["scores"] for batch in batches])
        value = usable_value(trial)
        if not batches and value is not None:
            scores = {0: value}
        recorded = [batch.get("others", {}) for batch in batches]
        names = dict.fromkeys(name for rows in recorded for name in rows)
        return cls(
            number=trial.number,
            lam=_lam(trial, name),
            state=trial.state,
            scores=scores,
            seconds=sum(batch["seconds"] for batch in batches),
            tracked={each: _by_image(batches, [r.get(each) for r in recorded]) for each in names},
            plan_size=max((batch.get("of", 0) for batch in batches), default=0),
            images=parse_ranges(trial.user_attrs.get(IMAGES_KEY)),
            bounds=_bounds(trial, name),
        )

    @property
    def image_count(self) -> int:
        """Number of images that this evaluation generates, 0 where that is not stored."""
        return sum(stop - start for start, stop in self.images or ())

    @property
    def row(self) -> NDArray[np.float64]:
        """Scores by image id, shape (images of the plan,), NaN where there is none."""
        return self._row(self.scores)

    def tracked_row(self, name: str) -> NDArray[np.float64]:
        """Return a tracked reward's scores by image id, shaped like `row`; all NaN without any."""
        return self._row(self.tracked.get(name, {}))

    def _row(self, scores: Mapping[int, float]) -> NDArray[np.float64]:
        row = np.full(max(self.plan_size, max(self.scores, default=-1) + 1), np.nan)
        row[list(scores)] = list(scores.values())
        return row


def usable_value(trial: FrozenTrial) -> float | None:
    """Return the value of a complete trial, None if it is infinite or not there."""
    value = trial.value if trial.state == TrialState.COMPLETE else None
    return value if value is not None and abs(value) <= LARGEST_SCORE else None


def to_ranges(image_ids: Sequence[int]) -> ImageRanges:
    """Return increasing image ids as half-open ranges."""
    ranges: list[tuple[int, int]] = []
    for image_id in image_ids:
        if ranges and ranges[-1][1] == image_id:
            ranges[-1] = ranges[-1][0], image_id + 1
        else:
            ranges.append((image_id, image_id + 1))
    return tuple(ranges)


def parse_ranges(stored: Any) -> ImageRanges | None:
    """Read stored ranges; an early version of lamsearch stored a single one as [start, stop]."""
    if stored is None:
        return None
    pairs = [stored] if stored and isinstance(stored[0], int) else stored
    return tuple((start, stop) for start, stop in pairs)


def is_number(value: Any) -> bool:
    """Return whether a parameter's value is a number, as λ must be."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lam(trial: FrozenTrial, name: str) -> float:
    """Return λ as set, or as enqueued; NaN if it is neither, or no number."""
    lam = trial.params.get(name, trial.system_attrs.get("fixed_params", {}).get(name))
    return lam if is_number(lam) else math.nan


def _bounds(trial: FrozenTrial, name: str) -> tuple[float, float] | None:
    range_ = trial.distributions.get(name)
    if not isinstance(range_, (FloatDistribution, IntDistribution)):
        return None
    return float(range_.low), float(range_.high)


def _by_image(
    batches: Sequence[Mapping[str, Any]], rows: Sequence[Sequence[float | None] | None]
) -> dict[int, float]:
    return {
        image_id: math.nan if score is None else score
        for batch, row in zip(batches, rows, strict=True)
        if row is not None
        for image_id, score in zip(batch["image_ids"], row, strict=True)
    }


def _nan_as_null(scores: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(score) else float(score) for score in scores]
