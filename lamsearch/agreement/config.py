"""Options of an agreement: how many images, and which."""

from __future__ import annotations

from lamsearch.config.fields import Whole, option
from lamsearch.evaluation.config import LARGEST_IMAGES, LEAST_IMAGES, GenerationConfig


class AgreementConfig(GenerationConfig):
    """Options of an agreement.

    Raises:
        SettingsError: If an option is out of its range.
    """

    images: Whole = option(
        500,
        "Images of every model, from scratch and emulated; the paper has 500. More of them later "
        "add to those there are.",
        group="images",
        metavar="N",
        ge=LEAST_IMAGES,
        le=LARGEST_IMAGES,
        expected=f"at least {LEAST_IMAGES}, at most {LARGEST_IMAGES:,}",
        strict=True,
    )
    seed: Whole = option(
        0,
        "Seed of the images.",
        group="images",
        metavar="S",
        ge=0,
        lt=2**63,
        expected="an integer of at least 0, below 2⁶³",
        strict=True,
    )
