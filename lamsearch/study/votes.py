"""Votes of people on pairs of a study's images, one fact of the study each.

Every vote has a key of its own, so votes that several programs store at once never overwrite each
other, and a vote that is sent twice counts once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lamsearch.study.batches import LARGEST_PLAN, LARGEST_SCORE

Choice = Literal["left", "right", "tie"]
CHOICES: tuple[Choice, ...] = get_args(Choice)

LONGEST_NAME = 80
"""Characters that a rater's name may have."""

_KEY = "vote:"


@dataclass(frozen=True)
class Vote:
    """One vote: an image of the plan at two λs, side by side.

    Attributes:
        rater: Who voted.
        image_id: The image, as its position in the plan.
        left: λ of the image at the left.
        right: λ of the image at the right.
        choice: Which one was better: "left", "right", or "tie" for neither.
        time: When, in ISO 8601, UTC.
    """

    rater: str
    image_id: int
    left: float
    right: float
    choice: Choice
    time: str

    @property
    def pair(self) -> tuple[float, float]:
        """The two λs, the smaller one first."""
        return min(self.left, self.right), max(self.left, self.right)

    @property
    def preferred(self) -> float | None:
        """λ of the better image, None for a tie."""
        return {"left": self.left, "right": self.right, "tie": None}[self.choice]

    def to_json(self) -> dict[str, Any]:
        """Return the stored JSON value."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> Vote:
        """Read a stored JSON value.

        Raises:
            ValueError: If it is not one that `to_json` gives; the message says what is wrong.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not isinstance(value, Mapping) or not set(names) <= set(value):
            raise ValueError(f"a vote is {value!r:.40}, expected a table with {', '.join(names)}")
        image_id, lams = value["image_id"], (value["left"], value["right"])
        if type(image_id) is not int or not 0 <= image_id < LARGEST_PLAN:
            raise ValueError(f"a vote is on image {image_id!r:.40}")
        if not all(type(lam) in (int, float) and abs(lam) <= LARGEST_SCORE for lam in lams):
            raise ValueError(f"a vote compares λ {lams[0]!r:.40} with {lams[1]!r:.40}")
        if lams[0] == lams[1]:
            raise ValueError(f"a vote compares λ {lams[0]!r:.40} with itself")
        if value["choice"] not in CHOICES:
            raise ValueError(f"a vote chose {value['choice']!r:.40}")
        rater, time = value["rater"], value["time"]
        if not (isinstance(rater, str) and isinstance(time, str)):
            raise ValueError("a vote has no rater or no time")
        left, right = map(float, lams)
        return cls(rater, image_id, left, right, value["choice"], time)


def vote_key(ballot: str) -> str:
    """Return the name of the fact that stores the vote on a ballot, which is a random word."""
    return f"{_KEY}{ballot}"


def stored_votes(facts: Mapping[str, Any]) -> list[Vote]:
    """Return the votes among a study's facts, in the order of their times.

    Raises:
        ValueError: If one is damaged.
    """
    keyed = [(key, Vote.from_json(value)) for key, value in facts.items() if key.startswith(_KEY)]
    return [vote for _, vote in sorted(keyed, key=lambda each: (each[1].time, each[0]))]
