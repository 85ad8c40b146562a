"""What a policy makes of a history: the next proposal, within a budget.

A policy is a pure function: the same history gives the same proposal, in whatever process. So a
search that was killed and resumed proposes exactly what an uninterrupted one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from lamsearch.study.history import UNLIMITED, History
from lamsearch.study.records import Evaluation, ImageRanges


class Proposal(NamedTuple):
    """What to evaluate next.

    Attributes:
        lam: λ.
        images: Ranges of the image ids to generate; None for a function that has no images.
    """

    lam: float
    images: ImageRanges | None = None


class Assignment(NamedTuple):
    """What a worker is to do.

    Attributes:
        evaluation: The evaluation, leased to this worker, with the scores it has already.
        images_done: Number of images that the whole study has scored.
    """

    evaluation: Evaluation
    images_done: int


class Policy(Protocol):
    """Decides what to evaluate next: the only way a λ or more images are ever proposed."""

    def __call__(self, history: History) -> Proposal | None:
        """Return the next proposal, None when nothing is left to do."""
        ...

    def images_at(self, lam: float, history: History) -> ImageRanges | None:
        """Return the images of trial `history.number` at a λ that somebody else chose.

        That is an enqueued λ, or a trial that an early version of lamsearch left unfinished. None
        where evaluations have no images.
        """
        ...


@dataclass(frozen=True)
class Budget:
    """How much a study may evaluate.

    Attributes:
        amount: Evaluations, or images of all evaluations together.
        counts_images: Which of the two.
    """

    amount: int = UNLIMITED
    counts_images: bool = False

    def cost(self, evaluation: Evaluation) -> int:
        """Return what an evaluation costs."""
        return evaluation.image_count if self.counts_images else 1

    def left(self, history: History) -> int:
        """Return what is left after the evaluations that are spent.

        A λ outside of [0, 1] that failed is spent too: it extrapolates too far, and would fail
        again.
        """
        spent = {each.number: each for each in history.spent}
        spent |= {each.number: each for each in history.failed if each.lam < 0 or each.lam > 1}
        return self.amount - sum(map(self.cost, spent.values()))
