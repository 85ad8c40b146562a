"""Which experiment trackers follow a search."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from lamsearch.config.fields import Config, option
from lamsearch.config.strict_table import did_you_mean
from lamsearch.errors import SettingsError

TRACKERS = (
    "aim",
    "clearml",
    "comet_ml",
    "dvclive",
    "mlflow",
    "swanlab",
    "tensorboard",
    "trackio",
    "wandb",
)
"""The trackers that accelerate knows; a test keeps the names equal to its own."""


def _checked_trackers(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in TRACKERS:
            known = ", ".join(TRACKERS)
            hint = did_you_mean(name, TRACKERS)
            raise SettingsError(f"track {name!r} given, expected one of {known}{hint}")
    return tuple(dict.fromkeys(names))


class TrackingConfig(Config):
    """Options of the trackers.

    Raises:
        SettingsError: If there is no such tracker.
    """

    track: Annotated[tuple[str, ...], AfterValidator(_checked_trackers)] = option(
        (),
        f"Experiment trackers that follow the search, separated by commas: {', '.join(TRACKERS)}.",
        group="search",
        metavar="NAMES",
        expected="a list of names",
    )
