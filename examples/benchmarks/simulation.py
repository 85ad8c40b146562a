"""Search without models: the product's loop, policies and study, with scores that cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lamsearch.loop import search_loop
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.records import Evaluation

Scores: TypeAlias = Callable[[float, int, Sequence[int]], NDArray[np.float64]]
"""λ, the evaluation's number from 0, and image ids → the scores of these images."""


class ScoredImages:
    """Evaluation of images that exist only as scores.

    Args:
        scores: Returns the scores.
        plan_size: Number of images in the whole plan.
    """

    def __init__(self, scores: Scores, plan_size: int) -> None:
        self._scores, self._plan_size = scores, plan_size

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of an evaluation's images as one batch."""
        ids = [i for start, stop in evaluation.images or () for i in range(start, stop)]
        scores = self._scores(evaluation.lam, evaluation.number, ids)
        yield Batch(ids, scores.tolist(), plan_size=self._plan_size)


def simulate(policy: Policy, scores: Scores, budget: Budget, *, plan_size: int) -> list[Evaluation]:
    """Run a search in memory until its policy or its budget ends.

    Args:
        policy: Proposes λs and images.
        scores: Returns the images' scores.
        budget: What the search may spend.
        plan_size: Number of images in the whole plan.

    Returns:
        All evaluations in the order of their numbers.
    """
    study = Study.create("simulation", None)
    search_loop(study, ScoredImages(scores, plan_size), policy=policy, budget=budget)
    return study.history().finished
