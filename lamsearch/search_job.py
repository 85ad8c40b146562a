"""The arguments of a search over images, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import AllocationPolicy, SearchPolicy
from lamsearch.config.expressions import Objective, parse_objective
from lamsearch.config.places import Places, checked_study
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import AnchorSettings, Settings, find_settings, load_settings
from lamsearch.errors import PromptError, SettingsError
from lamsearch.evaluation.block_design import BlockDesign
from lamsearch.evaluation.config import AUTO, ConfirmationConfig, ImagesConfig
from lamsearch.evaluation.image_plan import GROWING, PlannedImage, held_out_plan, image_plan
from lamsearch.rewards.permission import require_permission
from lamsearch.study.proposal import Budget, Policy
from lamsearch.tracking.config import TrackingConfig


@dataclass(frozen=True)
class Job:
    """The arguments of `run`, checked before anything is loaded.

    Attributes:
        places: Where the settings and the study are.
        tracking: Where to report besides.
        tracked: Names of the rewards to record beside the objective.
        plan: The images of the search, or those to choose from.
        held_out: The images of the confirmation; empty without one.
    """

    places: Places
    settings: Settings
    anchor: AnchorSettings
    objective: Objective
    tracked: Sequence[str]
    search: SearchConfig
    images: ImagesConfig
    confirmation: ConfirmationConfig
    tracking: TrackingConfig
    design: BlockDesign
    plan: Sequence[PlannedImage]
    held_out: Sequence[PlannedImage]

    @classmethod
    def from_keywords(cls, anchor: str, reward: str, keywords: dict[str, Any]) -> Job:
        """Return the job of the arguments of `run`.

        Raises:
            SettingsError: If an argument or the settings are wrong.
        """
        search, images = SearchConfig.select(keywords), ImagesConfig.select(keywords)
        confirmation = ConfirmationConfig.select(keywords)
        _require_paired(images, search)
        places = Places.select(keywords)
        settings = load_settings(find_settings(places.config))
        chosen, objective = settings.anchor(anchor), parse_objective(reward, settings.rewards)
        tracked = _tracked_names(settings, objective, images=images, search=search)
        file, held_out_file = _prompt_files(settings, images, confirmation)
        design = _block_design(images, search)
        plan = image_plan(read_prompts(file), design.total, search.seed)
        # A budget of images may buy no more of the plan than that.
        usable = plan[: search.budget] if images.is_auto else plan
        held_out = _held_out(usable, held_out_file, confirmation.confirm, seed=search.seed)
        return cls(
            places=places,
            settings=settings,
            anchor=chosen,
            objective=objective,
            tracked=tracked,
            search=search,
            images=images,
            confirmation=confirmation,
            tracking=TrackingConfig.select(keywords),
            design=design,
            plan=plan,
            held_out=held_out,
        )

    @property
    def study(self) -> str:
        """Name of the study."""
        default = f"{self.anchor.name}-{self.objective.slug}-seed{self.search.seed}"
        return self.places.study or checked_study(default) or default

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

    def command(self, study: str) -> list[str]:
        """Return the words of the command line that reproduces the search."""
        words = ["lamsearch", "run", "--anchor", self.anchor.name, "--reward", self.objective.text]
        words += self.settings.flag
        for options in (self.search, self.images, self.confirmation):
            words += options.flags(always=("budget",))
        return [*words, "--study", study]


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
        require_permission(settings.reward(name), allow_code=images.allow_code)
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
