"""Algorithm 2 of arXiv 2601.20198: the one search loop, for images and for any function of λ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeAlias

from lamsearch.study.database import Allocate, Study
from lamsearch.study.records import Batch, Evaluation

Enough: TypeAlias = Callable[[Sequence[Evaluation]], bool]
"""Tells from the finished evaluations whether the search may stop."""


class Evaluate(Protocol):
    """What the loop evaluates: λ → batches of scores."""

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of all images of an evaluation that it has not yet."""
        ...


class Progress(Protocol):
    """Told what the loop does."""

    def started(self, evaluation: Evaluation, done: int) -> None:
        """An evaluation begins or goes on; so many images of the study are done."""
        ...

    def scored(self, evaluation: Evaluation, images: int) -> None:
        """A batch of so many images was scored and committed."""
        ...

    def finished(self, evaluation: Evaluation) -> None:
        """An evaluation is complete; it failed where every image is missing."""
        ...

    def confirming(self, lams: int, images: int) -> None:
        """The search is done; so many λs are now evaluated on so many held-out images each."""
        ...


def search_loop(
    study: Study,
    evaluate: Evaluate,
    budget: int,
    *,
    allocate: Allocate | None = None,
    enough: Enough | None = None,
    progress: Progress | None = None,
) -> None:
    """Evaluate λ after λ until there are enough or the budget is used; commit batch by batch.

    The budget counts evaluations, or images where `allocate` decides on these.
    """
    while True:
        earlier = study.evaluations()
        if enough is not None and enough(earlier):
            return
        evaluation = study.next_evaluation(budget, allocate)
        if evaluation is None:
            return
        if progress is not None:
            done = sum(len(each.scores) for each in (*earlier, evaluation))
            progress.started(evaluation, done)
        try:
            for batch in evaluate.batches(evaluation):
                study.record(evaluation, batch)
                if progress is not None:
                    progress.scored(evaluation, len(batch.image_ids))
        except BaseException:
            study.release(evaluation)
            raise
        finished = study.finish(evaluation)
        if progress is not None:
            progress.finished(finished)
