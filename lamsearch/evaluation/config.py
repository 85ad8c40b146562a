"""Options of the images: how many, from which prompts, on which device; and of held-out ones."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, model_validator

from lamsearch.config.fields import Config, option
from lamsearch.errors import SettingsError

LEAST_IMAGES = 2
"""Images that a paired interval needs."""

AUTO = "auto"


def _checked_images(images: Any) -> int | str:
    is_number = isinstance(images, Integral) and not isinstance(images, bool)
    if images != AUTO and not (is_number and images >= LEAST_IMAGES):
        least = f"a number of at least {LEAST_IMAGES}, since one image has no known error"
        raise SettingsError(f"images {images!r} given, expected {least}, or {AUTO}")
    return images if images == AUTO else int(images)


def _checked_names(names: Any) -> tuple[str, ...]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"also = {names!r} given, expected a list of names")
    return tuple(names)


class GenerationConfig(Config):
    """What images are generated from, and where.

    Raises:
        SettingsError: If an option is out of its range.
    """

    prompts: Path | None = option(
        None,
        "Prompt file (.txt, .json, .jsonl, .csv or .tsv); by default that of the settings.",
        group="images",
        metavar="FILE",
    )
    batch_size: int = option(
        64,
        "Images per call of the pipeline; halved whenever memory runs out.",
        group="images",
        metavar="N",
        ge=1,
        expected="at least 1",
    )
    device: Annotated[
        str | None, BeforeValidator(lambda device: None if device is None else str(device))
    ] = option(
        None,
        "Device of the models; by default cuda, mps or cpu, the first there is.",
        group="images",
        metavar="D",
    )


class ImagesConfig(GenerationConfig):
    """Options of the images of a search.

    Raises:
        SettingsError: If an option is out of its range.
    """

    images: Annotated[int | Literal["auto"], BeforeValidator(_checked_images)] = option(
        64,
        "Images per evaluation; auto: the search decides, step by step, between a new λ and more "
        "images at one it has.",
        group="images",
        metavar="N|auto",
    )
    plan: Literal["fixed", "rotating"] = option(
        "fixed",
        "Whether all λs see the same images, or each another part of a larger set, of which any "
        "two share a third.",
        group="images",
    )
    also: Annotated[tuple[str, ...], BeforeValidator(_checked_names)] = option(
        (),
        "Other rewards to record on the same images, separated by commas.",
        group="guards",
        metavar="NAMES",
    )

    @property
    def is_auto(self) -> bool:
        """Whether the search decides how many images a λ gets."""
        return self.images == AUTO

    @model_validator(mode="after")
    def _auto_has_its_own_plan(self) -> ImagesConfig:
        if self.is_auto and self.plan != "fixed":
            raise SettingsError(f"plan {self.plan!r} given with images {AUTO}, which has its own")
        return self


class ConfirmationConfig(Config):
    """Options of the held-out confirmation.

    Raises:
        SettingsError: If an option is out of its range.
    """

    confirm: int = option(
        0,
        "Held-out images at each of λ = 0, λ = 1 and λ*, once the search is done; 0 for none.",
        group="guards",
        metavar="N",
        ge=0,
        expected=f"at least {LEAST_IMAGES} images",
    )
    confirm_prompts: Path | None = option(
        None,
        "Prompt file of the confirmation; by default, unless --prompts is given, the settings' "
        "held-out prompts, else the file of the search. Prompts that the search uses are left out.",
        group="guards",
        metavar="FILE",
    )

    @model_validator(mode="after")
    def _prompts_need_images(self) -> ConfirmationConfig:
        if 0 < self.confirm < LEAST_IMAGES:
            raise SettingsError(
                f"confirm {self.confirm} given, expected at least {LEAST_IMAGES} images"
            )
        if self.confirm_prompts is not None and not self.confirm:
            raise SettingsError(
                "prompts to confirm with given, but not --confirm N, how many images"
            )
        return self
