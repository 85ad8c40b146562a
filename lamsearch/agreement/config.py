"""Options of an agreement: how many images, and which."""

from __future__ import annotations

from lamsearch.config.fields import option
from lamsearch.evaluation.config import LEAST_IMAGES, GenerationConfig


class AgreementConfig(GenerationConfig):
    """Options of an agreement.

    Raises:
        SettingsError: If an option is out of its range.
    """

    images: int = option(
        500,
        "Images of every model, from scratch and emulated; the paper has 500. More of them later "
        "add to those there are.",
        group="images",
        metavar="N",
        ge=LEAST_IMAGES,
        expected=f"at least {LEAST_IMAGES}",
    )
    seed: int = option(
        0,
        "Seed of the images.",
        group="images",
        metavar="S",
        ge=0,
        expected="an integer of at least 0",
    )
