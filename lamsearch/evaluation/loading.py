"""Settings → loaded models: an anchor and the rewards that score its images, on one device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch

import deradiff
from lamsearch.config.expressions import Objective
from lamsearch.config.settings import AnchorSettings, Settings
from lamsearch.errors import SettingsError, first_line
from lamsearch.evaluation.image_plan import PlannedImage
from lamsearch.evaluation.images import ImageEvaluation, OnImages, OnWay
from lamsearch.evaluation.manifest import images_manifest, panel_manifest
from lamsearch.plain_text import shortened
from lamsearch.rewards import Panel, load_panel
from lamsearch.study.batches import Batch
from lamsearch.study.records import Evaluation


class Evaluates(Protocol):
    """Yields scores at any λ."""

    def batches(self, evaluation: Evaluation) -> Iterator[Batch]:
        """Yield the scores of those images of an evaluation that it does not have yet."""
        ...


class Evaluator(Protocol):
    """What a search and its confirmation evaluate with: models here, or those of actors."""

    def evaluation(
        self,
        plan: Sequence[PlannedImage],
        on_images: OnImages | None = None,
        *,
        on_way: OnWay | None = None,
    ) -> AbstractContextManager[Evaluates]:
        """Return the evaluation of a plan; a context manager."""
        ...

    @property
    def reference_fingerprint(self) -> str:
        """Digest of the weights of the reference's denoisers, whatever is loaded on top."""
        ...

    def manifest(self, plan: Sequence[PlannedImage]) -> dict[str, Any]:
        """Return what the scores of the plan's images depend on, as JSON."""
        ...


@dataclass(frozen=True)
class Models:
    """Models that are loaded in this process.

    Attributes:
        settings: The whole settings file.
        anchor_settings: The anchor's part of it.
        anchor: The loaded anchor.
        panel: The loaded rewards.
        batch_size: Images per call of the pipeline.
    """

    settings: Settings
    anchor_settings: AnchorSettings
    anchor: deradiff.Anchor
    panel: Panel
    batch_size: int

    def evaluation(
        self,
        plan: Sequence[PlannedImage],
        on_images: OnImages | None = None,
        *,
        on_way: OnWay | None = None,
    ) -> ImageEvaluation:
        """Return the evaluation of a plan; a context manager."""
        return ImageEvaluation(
            self.anchor,
            plan,
            self.panel,
            sampling=self.anchor_settings.sampling,
            batch_size=self.batch_size,
            on_images=on_images,
            on_way=on_way,
        )

    @property
    def reference_fingerprint(self) -> str:
        """Digest of the weights of the reference's denoisers, whatever is loaded on top."""
        return self.anchor.reference_fingerprint()

    def manifest(self, plan: Sequence[PlannedImage]) -> dict[str, Any]:
        """Return what the scores of the plan's images depend on, as JSON."""
        return {
            **images_manifest(self.anchor_settings, self.anchor, plan),
            **panel_manifest(self.settings, self.panel),
        }


def load_models(
    settings: Settings,
    anchor: AnchorSettings,
    *,
    objective: Objective,
    tracked: Sequence[str] = (),
    device: str,
    batch_size: int,
    allow_code: bool = False,
) -> Models:
    """Load an anchor and rewards.

    Args:
        settings: The settings file.
        anchor: One of its anchors.
        objective: What is optimised.
        tracked: Names of rewards to record beside it.
        device: Where the models run.
        batch_size: Images per call of the pipeline.
        allow_code: Whether rewards of one's own may run, `module:attribute` in the settings.

    Raises:
        SettingsError: If the anchor cannot be loaded, or a reward may not run.
        RewardError: If a reward cannot be loaded.
    """
    panel = load_panel(settings, objective, tracked, device=device, allow_code=allow_code)
    return Models(settings, anchor, load_anchor(anchor, device), panel, batch_size)


def load_anchor(settings: AnchorSettings, device: str) -> deradiff.Anchor:
    """Load an anchor onto a device.

    Raises:
        SettingsError: If what the settings name cannot be loaded, mixed, or has no effect.
    """
    sampling = settings.sampling
    try:
        options = deradiff.PipelineOptions(
            scheduler=sampling.scheduler,
            scheduler_config=sampling.scheduler_config,
            vae=sampling.vae,
            dtype=sampling.dtype,
            variant=settings.variant,
            use_safetensors=settings.use_safetensors,
            strength=settings.strength,
            file=settings.file,
            config=settings.config,
        )
        return deradiff.load_anchor(
            settings.reference, settings.aligned, beta=settings.beta, options=options, device=device
        )
    except (deradiff.AnchorError, deradiff.InexactMixtureError) as error:
        raise SettingsError(f"anchor {settings.name}: {error}") from error


def usable_device(given: str | None) -> str:
    """Return the given device, or for None the default one, if tensors can be there.

    Raises:
        SettingsError: If they cannot.
    """
    device = default_device() if given is None else given
    expected = "expected one that there is, such as cpu, cuda, cuda:1 or mps"
    try:
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device that is absent says so in its own way
        reason = shortened(first_line(error), 200)
        raise SettingsError(f"device {shortened(device)} given, {expected}: {reason}") from error
    return device


def default_device() -> str:
    """Return "cuda", "mps" or "cpu", the first there is."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
