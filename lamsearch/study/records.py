"""What a trial of the study database holds: one evaluation, its scores stored batch by batch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from lamsearch.study.batches import LARGEST_PLAN, LARGEST_SCORE, stored_batches

PARAMETER = "lam"
IMAGES_KEY = "images"
ATTEMPT_KEY = "attempt"
"""User attribute: how often the evaluation was tried before, absent the first time."""

COUNT_KEY = "count"
"""User attribute of an ended evaluation: its number of scores, so that a lost one is missed."""

REASON_KEY = "reason"
"""User attribute of a failed evaluation: why it failed."""

ImageRanges = tuple[tuple[int, int], ...]
"""Half-open ranges (start, stop) of image ids, in order."""


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
        attempt: How often it was tried before.
        reason: Why it failed, None where that is not stored.
        statistics: Name of a statistic of the images → image id → its figure.
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
    attempt: int = 0
    reason: str | None = None
    statistics: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @classmethod
    def from_trial(cls, trial: FrozenTrial, name: str = PARAMETER) -> Evaluation:
        """Read a trial.

        A trial without batches, as a plain Optuna script leaves it, counts its value as one score.
        Infinite values are ignored. Of an evaluation that is tried again, what was scored before
        counts only once it has ended, and where it was not scored anew.

        Args:
            trial: Optuna's record.
            name: The parameter that is λ.

        Raises:
            ValueError: If what is stored of it is damaged; the message says what is wrong.
        """
        attributes = trial.user_attrs
        attempt = attributes.get(ATTEMPT_KEY, 0)
        first = attempt if trial.state == TrialState.RUNNING else 0
        batches = [batch for number, batch in stored_batches(attributes) if number >= first]
        scores: dict[int, float] = {}
        for batch in batches:
            scores.update(zip(batch.image_ids, batch.scores, strict=True))
        value = usable_value(trial)
        if not batches and value is not None:
            scores = {0: value}
        evaluation = cls(
            number=trial.number,
            lam=_lam(trial, name),
            state=trial.state,
            scores=scores,
            seconds=sum(batch.seconds for batch in batches),
            tracked=_by_image((batch.image_ids, batch.tracked) for batch in batches),
            statistics=_by_image((batch.image_ids, batch.statistics) for batch in batches),
            plan_size=max((batch.plan_size for batch in batches), default=0),
            images=parse_ranges(attributes.get(IMAGES_KEY)),
            bounds=_bounds(trial, name),
            attempt=attempt,
            reason=attributes.get(REASON_KEY),
        )
        if batches and trial.state == TrialState.COMPLETE:
            evaluation._require_whole(attributes.get(COUNT_KEY))
        return evaluation

    def _require_whole(self, count: int | None) -> None:
        expected = self.image_count if count is None else count
        if expected and len(self.scores) != expected:
            raise ValueError(f"{len(self.scores)} of {expected} scores are there")

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

    def statistic_row(self, name: str) -> NDArray[np.float64]:
        """Return a statistic's figures by image id, shaped like `row`; all NaN without any."""
        return self._row(self.statistics.get(name, {}))

    def _row(self, scores: Mapping[int, float]) -> NDArray[np.float64]:
        row = np.full(max(self.plan_size, max(self.scores, default=-1) + 1), np.nan)
        row[list(scores)] = list(scores.values())
        return row


def _by_image(
    tables: Iterable[tuple[Sequence[int], Mapping[str, Sequence[float]]]],
) -> dict[str, dict[int, float]]:
    """Join the rows of batches, later ones over earlier ones: name → image id → figure."""
    joined: dict[str, dict[int, float]] = {}
    for image_ids, rows in tables:
        for name, row in rows.items():
            joined.setdefault(name, {}).update(zip(image_ids, row, strict=True))
    return joined


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
    """Read stored ranges; an early version of lamsearch stored a single one as [start, stop].

    Raises:
        ValueError: If they are no ranges of image ids.
    """
    if stored is None:
        return None
    pairs = [stored] if stored and isinstance(stored[0], int) else stored
    try:
        ranges = tuple((start, stop) for start, stop in pairs)
    except TypeError:
        raise ValueError(f"images {stored!r:.40} are no ranges") from None
    for start, stop in ranges:
        if (
            type(start) is not int
            or type(stop) is not int
            or not 0 <= start <= stop <= LARGEST_PLAN
        ):
            raise ValueError(f"images {start!r:.40} to {stop!r:.40} are no range")
    return ranges


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
