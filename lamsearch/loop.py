"""Algorithm 2 of arXiv 2601.20198: the one search loop, for images and for any function of λ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from lamsearch.errors import NoScoreError, TakenOverError
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.records import Evaluation


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
    """Evaluate what the policy proposes until it or the budget ends; commit batch by batch.

    An evaluation that another worker took over, while this one was paused, is left to it.

    Raises:
        NoScoreError: If a λ cannot be scored; the evaluation has failed then, with its reason.
    """
    while True:
        try:
            assignment = study.next_evaluation(policy, budget)
            if assignment is None:
                return
            evaluation, images_done = assignment
            if progress is not None:
                progress.started(evaluation, images_done)
            finished = _evaluated(study, evaluation, evaluate, progress)
            if progress is not None:
                progress.finished(finished)
        except TakenOverError:
            continue


def extrapolating_loop(
    study: Study,
    evaluate: Evaluate,
    *,
    policy: Policy,
    budget: Budget,
    progress: Progress | None = None,
) -> None:
    """Do what `search_loop` does, and go on where λ extrapolates too far to be scored.

    The policy must not propose a λ again that failed. Each such failure costs what its evaluation
    would have cost, so this ends.

    Raises:
        NoScoreError: If a λ between 0 and 1 cannot be scored: there a mixture always exists, so
            something is wrong with the settings.
    """
    while True:
        try:
            search_loop(study, evaluate, policy=policy, budget=budget, progress=progress)
        except NoScoreError as error:
            if 0 <= error.lam <= 1:
                raise
        else:
            return


def _evaluated(
    study: Study, evaluation: Evaluation, evaluate: Evaluate, progress: Progress | None
) -> Evaluation:
    """Return an ended evaluation; where most of its scores are missing it is tried again."""
    while not evaluation.state.is_finished():
        try:
            for batch in evaluate.batches(evaluation):
                study.record(evaluation, batch)
                if progress is not None:
                    progress.scored(evaluation, len(batch.image_ids))
        except NoScoreError as error:
            study.fail(evaluation, str(error))
            raise
        except BaseException:
            study.release(evaluation)
            raise
        evaluation = study.finish(evaluation)
    return evaluation
