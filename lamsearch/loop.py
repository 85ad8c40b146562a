"""Algorithm 2 of arXiv 2601.20198: the one search loop, for images and for any function of λ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.records import Batch, Evaluation


class Evaluate(Protocol):
    """What the loop evaluates: λ → batches of scores."""

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of all images of an evaluation that it does not have yet."""
        ...


class Progress(Protocol):
    """Receives what happens in the loop."""

    def started(self, evaluation: Evaluation, done: int) -> None:
        """An evaluation begins or is resumed; `done` images of the study are scored."""
        ...

    def scored(self, evaluation: Evaluation, images: int) -> None:
        """A batch of `images` images was scored and committed."""
        ...

    def mixing(self, way: str) -> None:
        """It is known how the models are mixed, such as "model outputs mixed"."""
        ...

    def finished(self, evaluation: Evaluation) -> None:
        """An evaluation is complete, or failed because every image is missing."""
        ...

    def confirming(self, lams: int, images: int) -> None:
        """The search is done; `lams` λs are now evaluated on `images` held-out images each."""
        ...


def search_loop(
    study: Study,
    evaluate: Evaluate,
    *,
    policy: Policy,
    budget: Budget,
    progress: Progress | None = None,
) -> None:
    """Evaluate what the policy proposes until it or the budget ends; commit batch by batch."""
    while (assignment := study.next_evaluation(policy, budget)) is not None:
        evaluation, images_done = assignment
        if progress is not None:
            progress.started(evaluation, images_done)
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
