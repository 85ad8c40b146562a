"""Scores of some of an evaluation's images, as one JSON value of the study database.

The value is `{"image_ids": …, "scores": …, "seconds": …, "of": …, "others": …, "statistics": …}`,
NaN as null. `of` is the number of images in the whole plan; `others` holds the rewards recorded
beside the objective, `statistics` what was measured of the images without any reward, where there
are any. They stand apart, so that neither a reward's name nor an earlier version mistakes one for
the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

LARGEST_SCORE = 1e150
"""Larger scores are as unusable as infinite ones: their squares overflow."""

LARGEST_PLAN = 10_000_000
"""Images that a plan may have: a larger number in a database is damage."""

_KEY = "scores:"
_NUMBERS = {int, float}


@dataclass(frozen=True)
class Batch:
    """Scores of some of a trial's images.

    Attributes:
        image_ids: The B images, as positions in the plan.
        scores: B scores of the objective; NaN = missing.
        seconds: Time spent to generate and score them.
        tracked: Name of a tracked reward → its B scores.
        plan_size: Number of images in the whole plan, 0 if these are all.
        statistics: Name of a statistic of the images → its B figures; stored to six digits.
    """

    image_ids: Sequence[int]
    scores: Sequence[float]
    seconds: float = 0.0
    tracked: Mapping[str, Sequence[float]] = field(default_factory=dict)
    plan_size: int = 0
    statistics: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def key(self, attempt: int = 0) -> str:
        """Return the name of the user attribute that stores this batch.

        Args:
            attempt: How often the evaluation had been tried before.
        """
        retry = f"{attempt}:" if attempt else ""
        return f"{_KEY}{retry}{min(self.image_ids):06d}"

    @property
    def is_finite(self) -> bool:
        """Whether no score is infinite or beyond `LARGEST_SCORE`."""
        rows = (self.scores, *self.tracked.values(), *self.statistics.values())
        return not any(abs(score) > LARGEST_SCORE for row in rows for score in row)

    def to_json(self) -> dict[str, Any]:
        """Return the stored JSON value."""
        tracked = {name: _nan_as_null(row) for name, row in self.tracked.items()}
        statistics = {
            name: _nan_as_null([_short(figure) for figure in row])
            for name, row in self.statistics.items()
        }
        return {
            "image_ids": list(self.image_ids),
            "scores": _nan_as_null(self.scores),
            "seconds": self.seconds,
            **({"of": self.plan_size} if self.plan_size else {}),
            **({"others": tracked} if tracked else {}),
            **({"statistics": statistics} if statistics else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Batch:
        """Read a stored JSON value.

        Raises:
            ValueError: If it is not one that `to_json` gives; the message says what is wrong.
        """
        if not isinstance(value, Mapping):
            raise ValueError(f"a batch is {type(value).__name__}, no table")
        size = value.get("of", 0)
        if type(size) is not int or not 0 <= size <= LARGEST_PLAN:
            raise ValueError(f"a plan has {size!r:.40} images")
        image_ids = _image_ids(value.get("image_ids"), size or LARGEST_PLAN)
        seconds = value.get("seconds", 0.0)
        if type(seconds) not in _NUMBERS or not 0 <= seconds < math.inf:
            raise ValueError(f"a batch took {seconds!r:.40} seconds")
        scores = _row(value.get("scores"), len(image_ids))
        tracked, statistics = (
            _table(value, name, len(image_ids)) for name in ("others", "statistics")
        )
        return cls(image_ids, scores, float(seconds), tracked, size, statistics)


def is_batch_key(name: str) -> bool:
    """Return whether a user attribute of this name holds a batch."""
    return name.startswith(_KEY)


def stored_batches(attributes: Mapping[str, Any]) -> Iterator[tuple[int, Batch]]:
    """Yield the batches among a trial's user attributes, each with its attempt, attempts in order.

    Raises:
        ValueError: If one is damaged.
    """
    found = []
    for key, value in attributes.items():
        if is_batch_key(key):
            retry, separator, _ = key.removeprefix(_KEY).partition(":")
            found.append((int(retry) if separator else 0, value))
    for attempt, value in sorted(found, key=lambda each: each[0]):
        yield attempt, Batch.from_json(value)


def _image_ids(given: Any, size: int) -> list[int]:
    if not isinstance(given, list) or not set(map(type, given)) <= {int}:
        raise ValueError("image ids are no integers")
    if given and (min(given) < 0 or max(given) >= size):
        raise ValueError(f"image ids {min(given)} to {max(given)} of a plan of {size}")
    if len(set(given)) < len(given):
        raise ValueError("an image id is there twice")
    return given


def _table(value: Mapping[str, Any], key: str, count: int) -> dict[str, list[float]]:
    """Return the rows by name that are stored under a key, none where it is absent."""
    given = value.get(key, {})
    if not isinstance(given, Mapping):
        raise ValueError(f"{key} is no table")
    return {str(name): _row(row, count) for name, row in given.items()}


def _short(figure: float) -> float:
    return float(f"{figure:.6g}")


def _row(given: Any, count: int) -> list[float]:
    """Return stored scores, null as NaN."""
    if not isinstance(given, list) or not set(map(type, given)) <= {*_NUMBERS, type(None)}:
        raise ValueError("scores are no numbers")
    if len(given) != count:
        raise ValueError(f"{len(given)} scores of {count} images")
    row = [math.nan if score is None else float(score) for score in given]
    if any(abs(score) > LARGEST_SCORE for score in row):
        raise ValueError("a score is infinite")
    return row


def _nan_as_null(scores: Sequence[float]) -> list[float | None]:
    return [None if math.isnan(score) else float(score) for score in scores]
