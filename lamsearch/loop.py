"""Algorithm 2 of arXiv 2601.20198: the one search loop, for images and for any function of λ."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from lamsearch.acquisition import ACQUISITIONS
from lamsearch.errors import EvaluationError, SettingsError
from lamsearch.evaluation import ImageEvaluation, load_anchor, reward_manifest
from lamsearch.gallery import Gallery
from lamsearch.prompts import image_plan, read_prompts
from lamsearch.rewards import load_reward
from lamsearch.sampler import LamSampler
from lamsearch.settings import Settings, find_settings, load_settings
from lamsearch.study import Batch, Evaluation, Study
from lamsearch.summary import Summary, summarize

DEFAULT_STORAGE = "sqlite:///lamsearch-studies/studies.db"
"""In the working directory."""


class Evaluate(Protocol):
    """What the loop evaluates: λ → batches of scores."""

    def batches(self, lam: float, done: Collection[int] = ()) -> Iterator[Batch]:
        """Yield the scores at λ of all images that are not done."""
        ...


class Progress(Protocol):
    """Told what the loop does."""

    def started(self, evaluation: Evaluation) -> None:
        """An evaluation begins or goes on."""
        ...

    def scored(self, evaluation: Evaluation, images: int) -> None:
        """A batch of so many images was scored and committed."""
        ...

    def finished(self, evaluation: Evaluation) -> None:
        """An evaluation is complete."""
        ...


def search_loop(
    study: Study, evaluate: Evaluate, budget: int, *, progress: Progress | None = None
) -> None:
    """Evaluate λ after λ until the study has `budget` evaluations; commit batch by batch."""
    while (evaluation := study.next_evaluation(budget)) is not None:
        if progress is not None:
            progress.started(evaluation)
        try:
            for batch in evaluate.batches(evaluation.lam, evaluation.scores):
                study.record(evaluation, batch)
                if progress is not None:
                    progress.scored(evaluation, len(batch.image_ids))
        except BaseException:
            study.release(evaluation)
            raise
        finished = study.finish(evaluation)
        if progress is not None:
            progress.finished(finished)


def search(
    evaluate: Callable[[float], ArrayLike],
    beta: float | None = None,
    *,
    budget: int = 12,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    acquisition: str = "auto",
    storage: str | None = None,
    study: str | None = None,
) -> Summary:
    """Search the λ that maximises your own evaluation.

    Args:
        evaluate: Takes λ and returns one number or a 1-D array of per-image scores, NaN = missing.
            Arrays of one length are paired by position: position i is the same image at every λ.
        beta: KL strength of the anchor, to report β/λ*.
        budget: Evaluations.
        bounds: λ's range.
        seed: Of the initial design.
        acquisition: "auto", "ei", "ucb" or "kg".
        storage: SQLAlchemy URL of the study database; None keeps it in memory.
        study: Its name; one that exists is gone on with.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument is out of its range.
        StudyError: If the study exists with other settings.
        EvaluationError: If `evaluate` returns nothing usable.
    """
    _check(budget=budget, bounds=bounds, acquisition=acquisition)
    if beta is not None and not beta > 0:
        raise SettingsError(f"beta {beta} given, expected the anchor's KL strength, > 0")
    sampler = LamSampler(seed, acquisition)
    opened = Study(study or "search", storage, sampler=sampler, bounds=bounds)
    opened.bind(_search_manifest(beta, bounds, seed, acquisition))
    search_loop(opened, _FunctionEvaluation(evaluate), budget)
    return summarize(opened)


def run(
    anchor: str,
    reward: str,
    budget: int = 12,
    *,
    config: str | Path | None = None,
    study: str | None = None,
    storage: str | None = None,
    images: int = 64,
    prompts: str | Path | None = None,
    bounds: tuple[float, float] = (0.0, 1.0),
    acquisition: str = "auto",
    seed: int = 0,
    batch_size: int = 64,
    device: str | None = None,
    progress: Progress | None = None,
) -> Summary:
    """Search the λ at which an anchor's images earn the highest mean reward.

    A study that exists is gone on with: finished evaluations are kept, and of an interrupted one
    only the missing images are generated.

    Args:
        anchor: Name of an anchor in the settings.
        reward: Name of a reward there.
        budget: Evaluations.
        config: The settings file; by default `./lamsearch.toml`, or else the bundled one.
        study: Name of the study, by default made of the anchor, the reward and the seed.
        storage: SQLAlchemy URL of its database, by default a file in `lamsearch-studies`.
        images: Images an evaluation.
        prompts: Prompt file (.txt, .jsonl, .csv), by default the settings'.
        bounds: λ's range; beyond 1 extrapolates.
        acquisition: "auto", "ei", "ucb" or "kg".
        seed: Of the initial design and the image plan.
        batch_size: Images in one call of the pipeline; halved whenever memory runs out.
        device: Where the models run, by default the accelerator if there is one.
        progress: Told what happens.

    Returns:
        The answer.

    Raises:
        SettingsError: If an argument or the settings are wrong.
        StudyError: If the study exists with other settings, or cannot be opened.
        RewardError: If the reward cannot be loaded or breaks its contract.
        EvaluationError: If no usable image comes out at some λ.
    """
    _check(budget=budget, bounds=bounds, acquisition=acquisition)
    if batch_size < 1:
        raise SettingsError(f"batch size {batch_size} given, expected at least 1")
    settings = load_settings(find_settings(Path(config) if config is not None else None))
    anchor_settings, reward_settings = settings.anchor(anchor), settings.reward(reward)
    plan = image_plan(read_prompts(_prompt_file(prompts, settings)), images, seed)
    device = device or default_device()
    name, storage = study or f"{anchor}-{reward}-seed{seed}", storage or DEFAULT_STORAGE
    opened = Study(name, storage, sampler=LamSampler(seed, acquisition), bounds=bounds)
    loaded_reward = load_reward(reward_settings, device)
    with ImageEvaluation(
        load_anchor(anchor_settings, device),
        plan,
        loaded_reward,
        sampling=anchor_settings.sampling,
        batch_size=batch_size,
        on_images=Gallery(name, storage).keep,
    ) as evaluation:
        opened.bind(
            {
                "anchor": anchor,
                "reward": reward,
                **_search_manifest(anchor_settings.beta, bounds, seed, acquisition),
                **evaluation.manifest(),
                **reward_manifest(reward_settings, loaded_reward),
            }
        )
        search_loop(opened, evaluation, budget, progress=progress)
    return summarize(opened)


def default_device() -> str:
    """Return "cuda", "mps" or "cpu", the first there is."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class _FunctionEvaluation:
    """A user's function of λ as batches: all its scores are one batch."""

    def __init__(self, function: Callable[[float], ArrayLike]) -> None:
        self._function = function

    def batches(self, lam: float, done: Collection[int] = ()) -> Iterator[Batch]:
        if done:  # committed before the process ended, but not marked as finished
            return
        began = time.perf_counter()
        scores = np.atleast_1d(np.asarray(self._function(lam), dtype=np.float64))
        if scores.ndim != 1 or not len(scores) or np.isinf(scores).any():
            raise EvaluationError(
                f"the evaluation of lam = {lam:g} returned shape {scores.shape} with "
                f"{int(np.isinf(scores).sum())} infinite scores: expected one number or a 1-D "
                "array of scores, NaN = missing"
            )
        yield Batch(range(len(scores)), scores.tolist(), time.perf_counter() - began)


def _prompt_file(prompts: str | Path | None, settings: Settings) -> Path:
    if prompts is not None:
        return Path(prompts)
    if settings.prompts is None:
        raise SettingsError(f"{settings.path} names no prompts: add [prompts] file, or --prompts")
    return settings.prompts.file


def _search_manifest(
    beta: float | None, bounds: tuple[float, float], seed: int, acquisition: str
) -> dict[str, Any]:
    return {"beta": beta, "bounds": list(bounds), "seed": seed, "acquisition": acquisition}


def _check(*, budget: int, bounds: tuple[float, float], acquisition: str) -> None:
    if budget < 1:
        raise SettingsError(f"budget {budget} given, expected at least 1 evaluation")
    if not (np.isfinite(bounds).all() and bounds[0] < bounds[1]):
        raise SettingsError(f"bounds {bounds[0]:g} {bounds[1]:g} given, expected LO < HI")
    if acquisition not in ACQUISITIONS:
        raise SettingsError(
            f"acquisition {acquisition!r} given, expected one of {', '.join(ACQUISITIONS)}"
        )
