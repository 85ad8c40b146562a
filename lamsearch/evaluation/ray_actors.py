"""The process that holds one pipeline of a study on many GPUs, and generates shards of images.

What goes wrong inside is returned, not raised: errors of this package keep their class that way,
and Ray would wrap them. This module does not import Ray.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL.Image import Image

from lamsearch.config.expressions import Objective
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.errors import LamsearchError, first_line
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.images import ImageEvaluation, OutOfMemory
from lamsearch.evaluation.loading import Models, load_models, usable_device
from lamsearch.study.batches import Batch


@dataclass(frozen=True)
class ActorJob:
    """What an actor loads.

    Attributes:
        settings: The whole settings file.
        anchor: The anchor's part of it.
        objective: What is optimised.
        tracked: Names of the rewards to record beside it.
        device: Where the models run, None for the default device.
        allow_code: Whether rewards of one's own may run.
        keep: Number of images at every λ, the first ones of the plan, that a study keeps.
        threads: CPU threads: with another number the last digits of a score differ.
    """

    settings: Settings
    anchor: AnchorSettings
    objective: Objective
    tracked: Sequence[str]
    device: str | None
    allow_code: bool
    keep: int
    threads: int


@dataclass(frozen=True)
class Loaded:
    """An actor is ready.

    Attributes:
        host: The name of its machine.
        pid: Its process there.
        manifest: What its scores depend on, but for the images; the same for all actors.
        reference_fingerprint: Digest of the weights of the reference's denoisers.
    """

    host: str
    pid: int
    manifest: dict[str, Any]
    reference_fingerprint: str


@dataclass(frozen=True)
class Scored:
    """A shard is done.

    Attributes:
        batch: Its scores.
        pictures: Of its images those that a study keeps for people to look at; None = missing.
        way: How the models are mixed, in words.
    """

    batch: Batch
    pictures: dict[int, Image | None]
    way: str | None


@dataclass(frozen=True)
class Failed:
    """A call failed.

    Attributes:
        reason: Why, in one line.
        error: The error, if it is one that the user has to see as it is: trying again will not
            help. None where the process may be at fault, and another one may succeed.
    """

    reason: str
    error: LamsearchError | None = None


class ImageActor:
    """Generates and scores the images of shards with models that it loads once.

    Args:
        job: What to load.
    """

    def __init__(self, job: ActorJob) -> None:
        self._job = job
        self._models: Models | None = None
        self._evaluation: ImageEvaluation | None = None
        self._opened: tuple[str, Failed | None] | None = None
        self._pictures: dict[int, Image | None] = {}
        self._way: str | None = None

    def load(self) -> Loaded | Failed:
        """Load the models, unless they are there."""
        try:
            self._models = models = self._models or self._load()
            manifest = models.manifest([])
            return Loaded(platform.node(), os.getpid(), manifest, models.reference_fingerprint)
        except Exception as error:
            return _failed(error)

    def open(self, key: str, plan: Sequence[PlannedImage]) -> Failed | None:
        """Prepare for a plan of images, unless it is prepared.

        Args:
            key: Name of the plan, for `score`.
            plan: All images of the study.
        """
        if self._opened is None or self._opened[0] != key:
            self._opened = key, self._open(plan)
        return self._opened[1]

    def score(
        self, key: str, lam: float, image_ids: Sequence[int]
    ) -> Scored | OutOfMemory | Failed:
        """Generate and score images of a plan; it may be repeated, with the same outcome."""
        if self._opened is None or self._opened[0] != key:
            return Failed(f"plan {key} is not open")
        if self._evaluation is None:
            return self._opened[1] or Failed(f"plan {key} is not open")
        self._pictures = {}
        try:
            scored = self._evaluation.score(lam, image_ids)
        except Exception as error:
            return _failed(error)
        if isinstance(scored, OutOfMemory):
            return scored
        return Scored(scored, self._pictures, self._way)

    def _load(self) -> Models:
        torch.set_num_threads(self._job.threads)
        job, device = self._job, usable_device(self._job.device)
        return load_models(
            job.settings,
            job.anchor,
            objective=job.objective,
            tracked=job.tracked,
            device=device,
            batch_size=1,  # unused: a shard is a batch
            allow_code=job.allow_code,
        )

    def _open(self, plan: Sequence[PlannedImage]) -> Failed | None:
        if self._evaluation is not None:
            self._evaluation.__exit__(None, None, None)
            self._evaluation = None
        if self._models is None:
            return Failed("the models are not loaded")
        try:
            evaluation = self._models.evaluation(plan, self._keep, on_way=self._say_way)
            self._evaluation = evaluation.__enter__()
        except Exception as error:
            return _failed(error)
        return None

    def _keep(self, lam: float, image_ids: Sequence[int], images: Sequence[Image | None]) -> None:
        pairs = zip(image_ids, images, strict=True)
        self._pictures = {image_id: image for image_id, image in pairs if image_id < self._job.keep}

    def _say_way(self, way: str) -> None:
        self._way = way


def _failed(error: Exception) -> Failed:
    if isinstance(error, LamsearchError):
        return Failed(first_line(error), error)
    return Failed(f"{type(error).__name__}: {first_line(error)}")
