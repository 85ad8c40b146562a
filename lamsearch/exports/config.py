"""Options of `lamsearch export` and `lamsearch sample`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from lamsearch.config.fields import option
from lamsearch.errors import SettingsError
from lamsearch.evaluation.config import LEAST_IMAGES, GenerationConfig

LARGEST_STRIP = 10_000
"""Images in one strip, over all λs: a picture with more of them helps nobody."""


def _checked_lams(lams: Any) -> tuple[float, ...]:
    given = tuple(float(lam) for lam in lams)
    if not given or not all(map(math.isfinite, given)):
        raise SettingsError(f"lam {lams!r} given, expected finite numbers, such as 0 0.5 1")
    return tuple(dict.fromkeys(lam + 0.0 for lam in given))  # no negative zero


def _checked_prompts(prompts: Any) -> tuple[str, ...]:
    given = tuple(prompts)
    for prompt in given:
        if not isinstance(prompt, str) or not prompt.strip() or "\0" in prompt:
            raise SettingsError(f"prompt {prompt!r} given, expected a text that is not empty")
    return given


class ExportConfig(GenerationConfig):
    """Options of an export.

    Raises:
        SettingsError: If an option is out of its range.
    """

    as_: Literal["realigned", "merged", "lora"] = option(
        ...,
        "What to write: both models and λ*, which give the study's own images; or one set of "
        "weights between them; or a LoRA. The latter two are approximations and are measured.",
        group="export",
    )
    lam: float | None = option(
        None,
        "λ to export at; by default the study's λ*.",
        group="export",
        metavar="λ",
        allow_inf_nan=False,
        expected="a finite number",
    )
    part: Literal["pipeline", "denoiser"] = option(
        "pipeline",
        "Whether merged weights are written with the whole pipeline or as the denoiser alone.",
        group="export",
    )
    rank: int = option(
        64,
        "Rank of the LoRA of a whole aligned denoiser; the LoRA of a LoRA anchor keeps its own.",
        group="export",
        metavar="R",
        ge=1,
        expected="at least 1",
    )
    epsilon: float | None = option(
        None,
        "Difference of the mean reward within which an export counts as equal to the mixture; by "
        "default the study's, 5 % of its curve's range.",
        group="export",
        metavar="E",
        gt=0,
        allow_inf_nan=False,
        expected="a number above 0",
    )
    images: int = option(
        64,
        "Images of the study's plan on which merged weights or a LoRA are measured.",
        group="images",
        metavar="N",
        ge=LEAST_IMAGES,
        expected=f"at least {LEAST_IMAGES}",
    )


class SampleConfig(GenerationConfig):
    """Options of a strip of images.

    Raises:
        SettingsError: If an option is out of its range.
    """

    lam: Annotated[Sequence[float], BeforeValidator(_checked_lams)] = option(
        (0.0, 0.5, 1.0),
        "λs of the columns.",
        group="strip",
        metavar="λ",
    )
    prompt: Annotated[Sequence[str], BeforeValidator(_checked_prompts)] = option(
        (),
        "Prompts of the rows, each in quotation marks; by default those of the prompt file, in the "
        "order of a search with the same seed.",
        group="strip",
        metavar="TEXT",
    )
    images: int | None = option(
        None,
        "Number of rows; by default one per prompt given, else 4.",
        group="strip",
        metavar="N",
        ge=1,
        le=LARGEST_STRIP,
        expected=f"1 to {LARGEST_STRIP}",
    )
    seed: int | None = option(
        None,
        "Seed of the rows' images; by default the study's, else 0.",
        group="strip",
        metavar="S",
        ge=0,
        expected="an integer of at least 0",
    )
