"""The held-out confirmation: λ = 0, λ = 1 and λ* on images that the search has not seen.

It is a study of its own in the same database, so it resumes like any other. With a larger number of
images later, only those that are missing are generated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lamsearch.evaluation.image_plan import GROWING, PlannedImage
from lamsearch.evaluation.loading import Evaluator
from lamsearch.loop import Progress, search_loop
from lamsearch.report.confirmation import (
    confirmation_lams,
    confirmation_name,
    read_confirmation,
)
from lamsearch.report.notes import unconfirmed
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.proposal import Budget


def confirm(
    summary: Summary,
    study: Study,
    *,
    models: Evaluator,
    plan: Sequence[PlannedImage],
    images: int,
    progress: Progress | None = None,
) -> Summary:
    """Return the summary with the confirmation of its answer; missing images are generated.

    Args:
        summary: The answer to confirm.
        study: The study that it comes from.
        models: What evaluates the images.
        plan: Held-out images, `images` or more.
        images: Number of images at each λ.
        progress: Receives what happens.

    Raises:
        StudyError: If the confirmation was begun with other settings.
        EvaluationError: If no usable image comes out at some λ.
    """
    lams = confirmation_lams(summary.lam)
    name = confirmation_name(study.name, summary.lam)
    held_out = study.beside(name, (min(lams), max(lams)))
    pinned = {"confirms": study.name, "lams": list(lams)}
    held_out.bind({**pinned, **models.manifest(plan[:GROWING])})
    if progress is not None:
        progress.confirming(len(lams), images)
    with models.evaluation(plan) as evaluation:
        policy = FixedLams(lams, images)
        search_loop(held_out, evaluation, policy=policy, budget=Budget(), progress=progress)
    found = read_confirmation(held_out, summary.lam)
    if found is None:  # other workers are at it
        return summary.with_note(unconfirmed())
    return dataclasses.replace(summary, confirmation=found)
