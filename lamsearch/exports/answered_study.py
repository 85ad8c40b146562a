"""A study of images with its answer, and the settings that it was run with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import deradiff
from lamsearch.config.expressions import Objective, parse_objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.errors import SettingsError, StudyError
from lamsearch.evaluation.block_design import BlockDesign
from lamsearch.evaluation.config import AUTO
from lamsearch.evaluation.image_plan import GROWING, PlannedImage, image_plan
from lamsearch.evaluation.manifest import images_manifest
from lamsearch.report.summarize import summarize
from lamsearch.report.summary import Summary
from lamsearch.study.database import Study

_OPTIONAL = {"strength", "aligned_steps", "frames"}
"""Facts of a manifest that are left out where they are not set."""


@dataclass(frozen=True)
class AnsweredStudy:
    """A study of an anchor's images.

    Attributes:
        study: The study.
        summary: Its answer.
        settings: The settings file, which has the study's anchor.
    """

    study: Study
    summary: Summary
    settings: Settings

    @classmethod
    def open(cls, name: str, storage: str | None, settings: Settings) -> AnsweredStudy:
        """Open a study.

        Raises:
            StudyError: If there is none with this name, or it has no answer yet.
            SettingsError: If it is not a search over an anchor's images.
        """
        study = Study.open(name, storage)
        summary = summarize(study)
        if summary.anchor is None or "seed" not in study.manifest:
            raise SettingsError(
                f"study '{name}' is a search over a function of its own: there are no models in it"
            )
        return cls(study, summary, settings)

    @property
    def anchor(self) -> AnchorSettings:
        """The anchor's part of the settings."""
        assert self.summary.anchor is not None
        return self.settings.anchor(self.summary.anchor)

    @property
    def objective(self) -> Objective:
        """What was optimised."""
        return parse_objective(str(self.manifest["reward"]), self.settings.rewards)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What the study's scores depend on."""
        return self.study.manifest

    @property
    def seed(self) -> int:
        """Seed of its image plan."""
        return int(self.manifest["seed"])

    def plan(self, prompts: Path | None, images: int) -> tuple[PlannedImage, ...]:
        """Return the study's image plan, with `images` images or more.

        Args:
            prompts: The prompt file, by default that of the settings.
            images: How many are needed; a longer plan begins with a shorter one.
        """
        file = prompts or self.settings.require_prompts().file
        return image_plan(read_prompts(file), max(images, self._planned), self.seed)

    def require_same(self, anchor: deradiff.Anchor, plan: Sequence[PlannedImage]) -> None:
        """Check that images of the anchor are those of the study, apart from versions.

        Raises:
            StudyError: If weights, sampling, prompts or seeds are others.
        """
        given, stored = images_manifest(self.anchor, anchor, plan[: self._planned]), self.manifest
        # Tuples are lists in the stored form, which is JSON.
        differing = [
            key
            for key in sorted({*given, *(_OPTIONAL & stored.keys())} - {"versions"})
            if _plain(given.get(key)) != _plain(stored.get(key))
        ]
        if differing:
            raise StudyError(
                f"study '{self.study.name}' was run with other settings ({', '.join(differing)}): "
                "give the settings file with --config and the prompts with --prompts as then"
            )

    @property
    def _planned(self) -> int:
        """Number of images that identify the plan."""
        images = self.manifest["images"]
        if images == AUTO:
            return GROWING
        return BlockDesign(int(images), str(self.manifest.get("schedule", "fixed"))).total


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
