"""The search over an anchor's images: check, load, bind, loop, summarise, confirm."""

from __future__ import annotations

from typing import Unpack

from lamsearch.confirm import confirm
from lamsearch.evaluation.evaluators import open_evaluator, require_place
from lamsearch.evaluation.images import OnImages
from lamsearch.evaluation.loading import Evaluator
from lamsearch.keywords import RunKeywords, check_keywords, check_progress
from lamsearch.loop import Progress, extrapolating_loop
from lamsearch.report.notes import unconfirmed
from lamsearch.report.summarize import conclude
from lamsearch.report.summary import Summary
from lamsearch.search_job import Job
from lamsearch.study.database import Study
from lamsearch.study.gallery import Gallery
from lamsearch.study.manifest import COMMAND_FACT, KEPT_FACT, REFERENCE_FACT
from lamsearch.study.storage import chosen_storage
from lamsearch.tracking.followed import Followed
from lamsearch.tracking.trackers import require_installed


def run(anchor: str, reward: str, budget: int = 12, **keywords: Unpack[RunKeywords]) -> Summary:
    """Search the λ at which an anchor's images earn the highest mean reward.

    A study that exists is resumed: finished evaluations are kept, and of an interrupted one only
    the missing images are generated.

    Args:
        anchor: Name of an anchor in the settings.
        reward: Name of a reward there, or a weighted sum such as "pickscore + 0.3*clip".
        budget: Number of evaluations; with `images="auto"` of images, of all λs together.
        **keywords: Options of the search (fields of `SearchConfig`), of the images
            (`ImagesConfig`), of the confirmation (`ConfirmationConfig`) and of trackers
            (`TrackingConfig`), and `config`, `study`, `storage` and `progress` as in `RunKeywords`.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument or the settings are wrong.
        StudyError: If the study exists with other settings, or cannot be opened.
        RewardError: If a reward cannot be loaded or breaks its contract.
        EvaluationError: If no usable image comes out at some λ between 0 and 1, or a cluster fails.
    """
    check_keywords("run", keywords, RunKeywords)
    check_progress(keywords.get("progress"), Progress)
    job = Job.from_keywords(anchor, reward, {"budget": budget, **keywords})
    storage, progress = chosen_storage(job.places.storage), keywords.get("progress")
    require_place(job.images)  # before anything is created
    require_installed(job.tracking.track)
    gallery = Gallery(job.study, storage, job.images.keep)
    gallery.require_own_folder()
    study = Study.create(job.study, storage, job.search.bounds)
    with (
        open_evaluator(
            job.settings,
            job.anchor,
            job.images,
            objective=job.objective,
            tracked=job.tracked,
            on_actor=getattr(progress, "actor", None),
        ) as models,
        Followed(progress, job.tracking.track, study, gallery.at) as followed,
    ):
        summary = _search(job, study, models, gallery.keep, followed)
        followed.answered(summary)
        return summary


def _search(
    job: Job, study: Study, models: Evaluator, keep: OnImages, progress: Followed
) -> Summary:
    """Search, and confirm the answer if this is the last worker at it."""
    with models.evaluation(job.plan, keep, on_way=progress.mixing) as evaluation:
        # Bound only now: what the pipeline does not take must not stay in the manifest.
        study.bind({**job.manifest(), **models.manifest(job.identifying_plan)})
        _remember(study, job, models)
        progress.bound()
        extrapolating_loop(
            study, evaluation, policy=job.policy, budget=job.budget, progress=progress
        )
    # Of several workers the last one to finish knows the answer, and confirms it. Read before the
    # answer is made: what another worker finishes later would not be in it.
    is_last = not study.has_live_workers
    summary = conclude(study, job.search, job.budget)
    if not job.held_out:
        return summary
    if not is_last:
        return summary if summary.confirmation else summary.with_note(unconfirmed())
    return confirm(
        summary,
        study,
        models=models,
        plan=job.held_out,
        images=job.confirmation.confirm,
        progress=progress,
    )


def _remember(study: Study, job: Job, models: Evaluator) -> None:
    """Store what agreements and reports want to know, and a resume is not held to."""
    study.remember(REFERENCE_FACT, models.reference_fingerprint)
    study.remember(KEPT_FACT, [image.prompt for image in job.plan[: job.images.keep]])
    study.remember(COMMAND_FACT, job.command(study.name))
