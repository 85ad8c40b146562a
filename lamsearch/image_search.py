"""The search over an anchor's images: check, load, bind, loop, summarise, confirm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import AllocationPolicy, SearchPolicy
from lamsearch.config.expressions import Objective, parse_objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import AnchorSettings, Settings, find_settings, load_settings
from lamsearch.confirm import confirm
from lamsearch.errors import PromptError, SettingsError
from lamsearch.evaluation.block_design import BlockDesign
from lamsearch.evaluation.config import AUTO, ConfirmationConfig, ImagesConfig
from lamsearch.evaluation.image_plan import GROWING, PlannedImage, held_out_plan, image_plan
from lamsearch.evaluation.loading import load_models, usable_device
from lamsearch.keywords import RunKeywords, check_keywords
from lamsearch.loop import search_loop
from lamsearch.report.notes import unconfirmed
from lamsearch.report.summarize import conclude
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study
from lamsearch.study.gallery import Gallery
from lamsearch.study.manifest import REFERENCE_FACT
from lamsearch.study.proposal import Budget, Policy
from lamsearch.study.storage import DEFAULT_STORAGE


def run(anchor: str, reward: str, budget: int = 12, **keywords: Unpack[RunKeywords]) -> Summary:
    """Search the λ at which an anchor's images earn the highest mean reward.

    A study that exists is resumed: finished evaluations are kept, and of an interrupted one only
    the missing images are generated.

    Args:
        anchor: Name of an anchor in the settings.
        reward: Name of a reward there, or a weighted sum such as "pickscore + 0.3*clip".
        budget: Number of evaluations; with `images="auto"` of images, of all λs together.
        **keywords: Options of the search (fields of `SearchConfig`), of the images (`ImagesConfig`)
            and of the confirmation (`ConfirmationConfig`), and `config`, `study`, `storage` and
            `progress` as in `RunKeywords`.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument or the settings are wrong.
        StudyError: If the study exists with other settings, or cannot be opened.
        RewardError: If a reward cannot be loaded or breaks its contract.
        EvaluationError: If no usable image comes out at some λ.
    """
    check_keywords("run", keywords, RunKeywords)
    job = _Job.from_keywords(anchor, reward, {"budget": budget, **keywords})
    name = keywords.get("study") or f"{anchor}-{job.objective.slug}-seed{job.search.seed}"
    storage, progress = keywords.get("storage") or DEFAULT_STORAGE, keywords.get("progress")
    device = usable_device(job.images.device)  # before anything is created
    study = Study.create(name, storage, job.search.bounds)
    models = load_models(
        job.settings,
        job.anchor,
        objective=job.objective,
        tracked=job.tracked,
        device=device,
        batch_size=job.images.batch_size,
    )
    on_way = progress.mixing if progress is not None else None
    keep = Gallery(name, storage).keep
    with models.evaluation(job.plan, keep, on_way=on_way) as evaluation:
        # Bound only now: what the pipeline does not take must not stay in the manifest.
        study.bind({**job.manifest(), **models.manifest(job.identifying_plan)})
        study.remember(REFERENCE_FACT, models.reference_fingerprint)
        search_loop(study, evaluation, policy=job.policy, budget=job.budget, progress=progress)
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


@dataclass(frozen=True)
class _Job:
    """The arguments of `run`, checked before anything is loaded.

    Attributes:
        tracked: Names of the rewards to record beside the objective.
        plan: The images of the search, or those to choose from.
        held_out: The images of the confirmation; empty without one.
    """

    settings: Settings
    anchor: AnchorSettings
    objective: Objective
    tracked: Sequence[str]
    search: SearchConfig
    images: ImagesConfig
    confirmation: ConfirmationConfig
    design: BlockDesign
    plan: Sequence[PlannedImage]
    held_out: Sequence[PlannedImage]

    @classmethod
    def from_keywords(cls, anchor: str, reward: str, keywords: dict[str, Any]) -> _Job:
        search, images = SearchConfig.select(keywords), ImagesConfig.select(keywords)
        confirmation = ConfirmationConfig.select(keywords)
        _require_paired(images, search)
        config = keywords.get("config")
        settings = load_settings(find_settings(None if config is None else Path(config)))
        chosen, objective = settings.anchor(anchor), parse_objective(reward, settings.rewards)
        tracked = _tracked_names(settings, objective, images=images, search=search)
        file, held_out_file = _prompt_files(settings, images, confirmation)
        design = _block_design(images, search)
        plan = image_plan(read_prompts(file), design.total, search.seed)
        # A budget of images may buy no more of the plan than that.
        usable = plan[: search.budget] if images.is_auto else plan
        held_out = _held_out(usable, held_out_file, confirmation.confirm, seed=search.seed)
        return cls(
            settings=settings,
            anchor=chosen,
            objective=objective,
            tracked=tracked,
            search=search,
            images=images,
            confirmation=confirmation,
            design=design,
            plan=plan,
            held_out=held_out,
        )

    @property
    def policy(self) -> Policy:
        """What proposes λ and images."""
        if self.images.is_auto:
            return AllocationPolicy(self.search)
        return SearchPolicy(self.search, self.design.image_ids)

    @property
    def budget(self) -> Budget:
        """What the study may spend."""
        return Budget(self.search.budget, counts_images=self.images.is_auto)

    @property
    def identifying_plan(self) -> Sequence[PlannedImage]:
        """Images whose prompts and seeds identify the plan; a growing one by its beginning."""
        return self.plan[:GROWING] if self.images.is_auto else self.plan

    def manifest(self) -> dict[str, Any]:
        """Return the options that the study's proposals depend on, as JSON."""
        # "schedule" is what version 0.1 called the plan.
        seen = {"images": self.images.images, "schedule": self.images.plan}
        return {**self.search.manifest(self.anchor.beta), **seen}


def _require_paired(images: ImagesConfig, search: SearchConfig) -> None:
    """Refuse to add images where their scores do not say what they are worth."""
    if images.is_auto and (search.noise, search.recommend) != ("paired", "posterior"):
        raise SettingsError(
            f"images {AUTO} given with noise '{search.noise}' and recommend "
            f"'{search.recommend}', expected 'paired' and 'posterior'"
        )


def _block_design(images: ImagesConfig, search: SearchConfig) -> BlockDesign:
    """Return which images an evaluation sees; with "auto", how many there are to choose from."""
    if isinstance(images.images, str):
        return BlockDesign(max(search.budget, GROWING), "fixed")
    return BlockDesign(images.images, images.plan)


def _tracked_names(
    settings: Settings, objective: Objective, *, images: ImagesConfig, search: SearchConfig
) -> list[str]:
    """Return the rewards to record beside the objective, all of which exist."""
    guard = search.constraint
    if guard is not None and guard.name == objective.plain:
        raise SettingsError(f"constraint '{guard.text}' is on what is optimised: constrain another")
    tracked = [*images.also, *([guard.name] if guard is not None else [])]
    for name in (*objective.weights, *tracked):
        settings.reward(name)
    return tracked


def _prompt_files(
    settings: Settings, images: ImagesConfig, confirmation: ConfirmationConfig
) -> tuple[Path, Path]:
    """Return the prompt file of the search and that of the confirmation, which may be the same."""
    if images.prompts is not None:
        file = held_out = images.prompts
    else:
        defaults = settings.require_prompts()
        file, held_out = defaults.file, defaults.heldout or defaults.file
    return file, confirmation.confirm_prompts or held_out


def _held_out(
    plan: Sequence[PlannedImage], file: Path, images: int, *, seed: int
) -> tuple[PlannedImage, ...]:
    """Return the images of the confirmation and more that may be requested later; none for 0."""
    if not images:
        return ()
    prompts = read_prompts(file)
    try:
        return held_out_plan(plan, prompts, max(images, GROWING), seed=seed)
    except PromptError as error:
        raise PromptError(
            f"confirm {images}: none left in {file}: {error}; name other "
            "prompts with --confirm-prompts or [prompts] heldout"
        ) from error
