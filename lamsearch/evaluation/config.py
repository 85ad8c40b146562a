"""Options of the images: how many, from which prompts, on which device; and of held-out ones."""

from __future__ import annotations

from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from lamsearch.config.fields import Config, Whole, option
from lamsearch.errors import SettingsError
from lamsearch.plain_text import shown

LEAST_IMAGES = 2
"""Images that a paired interval needs."""

LARGEST_IMAGES = 100_000
"""Images at one λ; the plan of all of them is kept in memory."""

AUTO = "auto"


def _checked_images(images: Any) -> int | str:
    if isinstance(images, str) and images == AUTO:
        return AUTO
    is_number = isinstance(images, Integral) and not isinstance(images, bool)
    if not (is_number and images >= LEAST_IMAGES):
        least = f"a number of at least {LEAST_IMAGES}, since one image has no known error"
        raise SettingsError(f"images {shown(images)} given, expected {least}, or {AUTO}")
    if images > LARGEST_IMAGES:
        raise SettingsError(f"images {shown(images)} given, expected at most {LARGEST_IMAGES:,}")
    return int(images)


def _checked_names(names: Any) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise SettingsError(f"also = {shown(names)} given, expected a list of names")
    return tuple(names)


def _checked_device(device: Any) -> str | None:
    """Return a device by its name; a `torch.device` has that as its text."""
    if device is None or isinstance(device, str):
        return device
    if type(device).__module__ != "torch":
        raise SettingsError(f"device {shown(device)} given, expected a name such as cpu or cuda:1")
    return str(device)


class ModelsConfig(Config):
    """Where models run, and whether code that settings name may.

    Raises:
        SettingsError: If an option is out of its range.
    """

    device: Annotated[str | None, BeforeValidator(_checked_device)] = option(
        None,
        "Device of the models; by default cuda, mps or cpu, the first there is.",
        group="images",
        metavar="D",
    )
    allow_code: bool = option(
        False,
        'Run rewards of your own, `class = "module:attribute"` in the settings; only for '
        "settings that you trust.",
        group="guards",
        strict=True,
    )


class GenerationConfig(ModelsConfig):
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
    batch_size: Whole = option(
        64,
        "Images per call of the pipeline; halved whenever memory runs out.",
        group="images",
        metavar="N",
        ge=1,
        le=LARGEST_IMAGES,
        expected=f"a whole number of at least 1, at most {LARGEST_IMAGES:,}",
        strict=True,
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
    keep: int = option(
        8,
        "Images kept at every λ for reports and figures, the first of the plan; 0 for none.",
        group="images",
        metavar="N",
        ge=0,
        expected="at least 0",
    )
    also: Annotated[tuple[str, ...], BeforeValidator(_checked_names)] = option(
        (),
        "Other rewards to record on the same images, separated by commas.",
        group="guards",
        metavar="NAMES",
    )

    ray: str | None = option(
        None,
        "Share the images of each evaluation among processes with one pipeline each: local starts "
        "Ray on this machine, an address such as HOST:6379 or auto joins a cluster.",
        group="images",
        metavar="local|ADDRESS",
        min_length=1,
        expected="local, or the address of a Ray cluster",
    )
    actors: int | None = option(
        None,
        "Number of these processes; by default one per GPU, or one where there is no GPU.",
        group="images",
        metavar="N",
        ge=1,
        expected="at least 1",
    )

    @property
    def is_auto(self) -> bool:
        """Whether the search decides how many images a λ gets."""
        return self.images == AUTO

    @model_validator(mode="after")
    def _auto_has_its_own_plan(self) -> ImagesConfig:
        if self.is_auto and self.plan != "fixed":
            raise SettingsError(
                f"plan {shown(self.plan)} given with images {AUTO}, which has its own"
            )
        return self

    @model_validator(mode="after")
    def _actors_are_of_ray(self) -> Self:
        if self.ray is None and self.actors is not None:
            raise SettingsError(f"actors {self.actors} given without --ray: add --ray local")
        if self.ray is not None and self.device is not None and ":" in self.device:
            kind = self.device.partition(":")[0]
            raise SettingsError(
                f"device {self.device} given with --ray, which gives each process its own: "
                f"expected {kind}"
            )
        return self


class ConfirmationConfig(Config):
    """Options of the held-out confirmation.

    Raises:
        SettingsError: If an option is out of its range.
    """

    confirm: Whole = option(
        0,
        "Held-out images at each of λ = 0, λ = 1 and λ*, once the search is done; 0 for none.",
        group="guards",
        metavar="N",
        ge=0,
        le=LARGEST_IMAGES,
        expected=f"at least {LEAST_IMAGES} images, at most {LARGEST_IMAGES:,}",
        strict=True,
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
