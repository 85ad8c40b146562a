"""The policy that evaluates given λs, each on the first images of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lamsearch.study.history import History
from lamsearch.study.proposal import Proposal
from lamsearch.study.records import ImageRanges


@dataclass(frozen=True)
class FixedLams:
    """Proposes, λ by λ, the images that it lacks.

    Attributes:
        lams: λs to evaluate.
        images: Number of images at each of them.
    """

    lams: Sequence[float]
    images: int

    def __call__(self, history: History) -> Proposal | None:
        """Return the first λ that lacks images, and these; None where no λ lacks any.

        A failed evaluation is tried again where nothing else was scored at its λ.
        """
        lacking = (lam for lam in self.lams if images_seen(lam, history) < self.images)
        lam = next(lacking, None)
        return None if lam is None else Proposal(lam, self.images_at(lam, history))

    def images_at(self, lam: float, history: History) -> ImageRanges:
        """Return the images that a λ lacks."""
        return ((images_seen(lam, history), self.images),)


def images_seen(lam: float, history: History) -> int:
    """Return how much of the plan was evaluated at a λ, or is being evaluated."""
    evaluations = [each for each in (*history.spent, *history.running) if each.lam == lam]
    return max((each.images[-1][1] for each in evaluations if each.images), default=0)
