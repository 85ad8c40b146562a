"""The search over an anchor's images, and the confirmation of its answer on held-out ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lamsearch.bayesopt.config import SearchOptions, parse_tolerance
from lamsearch.bayesopt.constraint import Constraint, parse_constraint
from lamsearch.bayesopt.strategy import Strategy
from lamsearch.config.expressions import Objective, parse_objective
from lamsearch.config.prompt_files import (
    GROWING,
    PlannedImage,
    held_out_plan,
    image_plan,
    read_prompts,
)
from lamsearch.config.settings import AnchorSettings, Settings, find_settings, load_settings
from lamsearch.errors import PromptError, SettingsError, first_line
from lamsearch.evaluation.block_design import PLANS, Schedule
from lamsearch.evaluation.images import ImageEvaluation, OnImages, load_anchor, panel_manifest
from lamsearch.loop import Progress, search_loop
from lamsearch.report.confirmation import (
    LEAST_IMAGES,
    confirmation,
    confirmation_lams,
    next_missing,
    open_confirmation,
)
from lamsearch.report.summary import Summary, summarize
from lamsearch.rewards import Panel, load_panel
from lamsearch.study.database import ENDLESS, Study
from lamsearch.study.gallery import Gallery

AUTO = "auto"

DEFAULT_STORAGE = "sqlite:///lamsearch-studies/studies.db"
"""In the working directory."""


def run(
    anchor: str,
    reward: str,
    budget: int = 12,
    *,
    config: str | Path | None = None,
    study: str | None = None,
    storage: str | None = None,
    images: int | str = 64,
    plan: str = "fixed",
    prompts: str | Path | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    acquisition: str = "auto",
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
    progress: Progress | None = None,
    also: Sequence[str] = (),
    constraint: str | None = None,
    confidence: float = 0.95,
    epsilon: float | str | None = None,
    recommend: str = "posterior",
    noise: str = "paired",
    kernel: str = "auto",
    confirm: int = 0,
    confirm_prompts: str | Path | None = None,
) -> Summary:
    """Search the λ at which an anchor's images earn the highest mean reward.

    A study that exists is gone on with: finished evaluations are kept, and of an interrupted one
    only the missing images are generated.

    Args:
        anchor: Name of an anchor in the settings.
        reward: Name of a reward there, or a weighted sum such as "pickscore + 0.3*clip".
        budget: Evaluations; with `images="auto"` images, of all λs together.
        config: The settings file; by default `./lamsearch.toml`, or else the bundled one.
        study: Name of the study, by default made of the anchor, the reward and the seed.
        storage: SQLAlchemy URL of its database, by default a file in `lamsearch-studies`.
        images: Images an evaluation, or "auto": the search decides, step by step, between a new λ
            and more images at one that it has.
        plan: "fixed", the same images at every λ, or "rotating": each λ sees another part of a
            larger set, of which any two share a third, so that more prompts count.
        prompts: Prompt file (.txt, .jsonl, .csv), by default the settings'.
        bounds: λ's range; beyond 1 extrapolates.
        acquisition: "auto", "ei", "ucb" or "kg".
        seed: Of the initial design and the image plan.
        batch_size: Images in one call of the pipeline; halved whenever memory runs out.
        device: Where the models run, by default the accelerator if there is one.
        progress: Told what happens.
        also: Names of other rewards to record on the same images.
        constraint: On another reward, such as "clip >= -1% of reference",
            "clip >= reference - 0.01" or "clip >= 0.35": λ* is searched where it holds.
        confidence: Probability with which it must hold at λ*, and of the stopping rule.
        epsilon: Stop before the budget is used once J(λ*) is within ε of the best with that
            probability: in the units of the scores, or "5%" of the curve's range. None: no stop.
        recommend: Answer by the "posterior" mean, or as the paper by the best "observed" value.
        noise: "paired", or as in the paper "homoscedastic": one unknown variance of the means.
        kernel: "auto", "matern" or "rbf", the paper's and auto's for its Algorithm 2.
        confirm: Held-out images at each of λ = 0, λ = 1 and λ*, once the search is done; 0 = none.
        confirm_prompts: Their prompt file; by default, unless `prompts` are given, the settings'
            held-out prompts, or else the file of the search. Prompts that it uses are left out.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument or the settings are wrong.
        StudyError: If the study exists with other settings, or cannot be opened.
        RewardError: If a reward cannot be loaded or breaks its contract.
        EvaluationError: If no usable image comes out at some λ.
    """
    guard = None if constraint is None else parse_constraint(constraint)
    strategy = Strategy(acquisition, recommend, noise, kernel)
    _check_auto(images, strategy)
    options = SearchOptions(
        budget, bounds, seed, strategy, guard, confidence, parse_tolerance(epsilon)
    )
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size} given, expected at least 1")
    if confirm_prompts is not None and not confirm:
        raise SettingsError("prompts to confirm with given, but not --confirm N, how many images")
    settings = load_settings(find_settings(None if config is None else Path(config)))
    chosen, objective = settings.anchor(anchor), parse_objective(reward, settings.rewards)
    others = _other_names(settings, objective, also, guard)
    file, held_out_file = _prompt_files(settings, prompts, confirm_prompts)
    schedule = _schedule(images, plan, budget)
    whole = image_plan(read_prompts(file), schedule.total, seed)
    auto = images == AUTO
    usable = whole[:budget] if auto else whole  # its budget may buy no more
    held_out = _held_out(usable, held_out_file, confirm, seed=seed)
    device, storage = _device(device), storage or DEFAULT_STORAGE
    name = study or f"{anchor}-{objective.slug}-seed{seed}"
    opened = Study(name, storage, sampler=options.sampler(), bounds=bounds)
    panel = load_panel(settings, objective, others, device=device)
    models = _Models(settings, chosen, load_anchor(chosen, device), panel, batch_size)
    keep = Gallery(name, storage).keep
    with models.evaluation(whole, schedule, growing=auto, on_images=keep) as evaluation:
        seen = {"images": images, "schedule": plan}
        opened.bind({**options.manifest(chosen.beta), **models.manifest(evaluation), **seen})
        search_loop(
            opened,
            evaluation,
            budget,
            allocate=options.allocate if auto else None,
            enough=options.enough,
            progress=progress,
        )
    # Of several workers the last one to finish knows the answer, and confirms it. Asked before the
    # answer is made: what another worker finishes later would not be in it.
    last = not opened.busy
    summary = summarize(opened, options.tolerance)
    if held_out and last:
        return _confirmed(summary, models, held_out, confirm, storage=storage, progress=progress)
    return summary


def _schedule(images: int | str, plan: str, budget: int) -> Schedule:
    """Return which images an evaluation sees; with "auto", how many there are to choose from."""
    if plan not in PLANS:
        raise SettingsError(f"plan {plan!r} given, expected one of {', '.join(PLANS)}")
    if images == AUTO:
        if plan != "fixed":
            raise SettingsError(f"plan {plan!r} given with images {AUTO}, which has its own")
        return Schedule(max(budget, GROWING), "fixed")
    if not isinstance(images, int) or images < LEAST_IMAGES:
        least = f"a number of at least {LEAST_IMAGES}, since one image has no known error"
        raise SettingsError(f"images {images!r} given, expected {least}, or {AUTO}")
    return Schedule(images, plan)


def _check_auto(images: int | str, strategy: Strategy) -> None:
    """Images can be added only where their scores say what they are worth."""
    if images == AUTO and (strategy.noise, strategy.recommend) != ("paired", "posterior"):
        raise SettingsError(
            f"images {AUTO} given with noise '{strategy.noise}' and recommend "
            f"'{strategy.recommend}', expected 'paired' and 'posterior'"
        )


def _device(given: str | None) -> str:
    """Return the device, the default one for None, if tensors can be there."""
    device = given or default_device()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter without CUDA
        expected = "expected one that there is, such as cpu, cuda, cuda:1 or mps"
        raise SettingsError(f"device {device} given, {expected}: {first_line(error)}") from error
    return device


def default_device() -> str:
    """Return "cuda", "mps" or "cpu", the first there is."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@dataclass(frozen=True)
class _Models:
    """What was loaded, for the search and for its confirmation."""

    settings: Settings
    anchor_settings: AnchorSettings
    anchor: Any
    panel: Panel
    batch_size: int

    def evaluation(
        self,
        plan: Sequence[PlannedImage],
        schedule: Schedule | None = None,
        growing: bool = False,
        on_images: OnImages | None = None,
    ) -> ImageEvaluation:
        return ImageEvaluation(
            self.anchor,
            plan,
            self.panel,
            sampling=self.anchor_settings.sampling,
            batch_size=self.batch_size,
            schedule=schedule,
            growing=growing,
            on_images=on_images,
        )

    def manifest(self, evaluation: ImageEvaluation) -> dict[str, Any]:
        """Return what the scores of an evaluation depend on, as JSON."""
        return {
            "anchor": self.anchor_settings.name,
            **evaluation.manifest(),
            **panel_manifest(self.settings, self.panel),
        }


def _confirmed(
    summary: Summary,
    models: _Models,
    plan: Sequence[PlannedImage],
    images: int,
    *,
    storage: str,
    progress: Progress | None,
) -> Summary:
    """Return the summary with the confirmation of its answer; what it lacks of images is made."""
    lams = confirmation_lams(summary.lam)
    study = open_confirmation(summary.study, storage, summary.lam)
    with models.evaluation(plan, growing=True) as evaluation:
        pinned = {"confirms": summary.study, "lams": list(lams)}
        study.bind({**pinned, **models.manifest(evaluation)})
        if progress is not None:
            progress.confirming(len(lams), images)
        search_loop(
            study,
            evaluation,
            ENDLESS,
            allocate=partial(next_missing, lams, images),
            progress=progress,
        )
    return dataclasses.replace(summary, confirmation=confirmation(study, summary.lam))


def _other_names(
    settings: Settings, objective: Objective, also: Sequence[str], guard: Constraint | None
) -> list[str]:
    """Return the rewards to record beside the objective, all of which exist."""
    if isinstance(also, str):
        raise SettingsError(f"also = {also!r} given, expected a list of names")
    if guard is not None and guard.name == objective.plain:
        raise SettingsError(f"constraint '{guard.text}' is on what is optimised: constrain another")
    others = [*also, *([guard.name] if guard is not None else [])]
    for name in (*objective.weights, *others):
        settings.reward(name)
    return others


def _prompt_files(
    settings: Settings, prompts: str | Path | None, confirm_prompts: str | Path | None
) -> tuple[Path, Path]:
    """Return the prompt file of the search and that of the confirmation, which may be the same."""
    defaults = settings.prompts
    if prompts is not None:
        file = held_out = Path(prompts)
    elif defaults is not None:
        file, held_out = defaults.file, defaults.heldout or defaults.file
    else:
        raise SettingsError(f"{settings.path} names no prompts: add [prompts] file, or --prompts")
    return file, held_out if confirm_prompts is None else Path(confirm_prompts)


def _held_out(
    plan: Sequence[PlannedImage], file: Path, images: int, *, seed: int
) -> tuple[PlannedImage, ...]:
    """Plan the images of the confirmation, and more that may be asked for later; none for 0."""
    if not images:
        return ()
    if images < LEAST_IMAGES:
        raise SettingsError(f"confirm {images} given, expected at least {LEAST_IMAGES} images")
    prompts = read_prompts(file)
    try:
        return held_out_plan(plan, prompts, max(images, GROWING), seed=seed)
    except PromptError as error:
        raise PromptError(
            f"confirm {images}: none left in {file}: {error}; name other "
            "prompts with --confirm-prompts or [prompts] heldout"
        ) from error
