"""One adapter for all trackers, made of accelerate's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.errors import SettingsError

PROJECT = "lamsearch"
"""Name of the project that holds a run per search, for trackers that have projects."""

_RUN_NAME = {
    "mlflow": "run_name",
    "swanlab": "experiment_name",
    "trackio": "name",
    "wandb": "name",
}
"""Tracker → the keyword that names a run in its project."""

Values = Mapping[str, float | int | str]


def require_installed(names: Sequence[str]) -> None:
    """Refuse trackers that are not installed, before anything is computed.

    Raises:
        SettingsError: If one is not.
    """
    if not names:
        return
    from accelerate.tracking import (  # type: ignore[import-untyped]
        get_available_trackers,
    )

    available = [str(each) for each in get_available_trackers()]
    for name in names:
        if name not in available:
            package = name.replace("_", "-")
            raise SettingsError(
                f"track {name} given, but it is not installed: pip install {package}"
            )


class Tracker:
    """A run of one tracker.

    Whatever its library raises is raised here, too.

    Args:
        name: Name of the tracker.
        run: Name of the run.
        folder: Where it may write, if it writes files at a place of our choice.
    """

    def __init__(self, name: str, run: str, folder: Path) -> None:
        from accelerate import PartialState  # type: ignore[import-untyped]
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # accelerate's own logging insists on one
        self.name = name
        kind: Any = LOGGER_TYPE_TO_CLASS[name]
        if kind.requires_logging_directory:
            folder.mkdir(parents=True, exist_ok=True)
            self._tracker = kind(run, logging_dir=folder)
        elif name in _RUN_NAME:
            self._tracker = kind(PROJECT, **{_RUN_NAME[name]: run})
        else:
            self._tracker = kind(PROJECT)
        self._tracker.start()

    def configure(self, values: Values) -> None:
        """Store what does not change in a run."""
        self._tracker.store_init_configuration(dict(values))

    def log(self, values: Values, step: int) -> None:
        """Report figures and texts."""
        self._tracker.log(dict(values), step=step)

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Report a picture, (height, width, 3); a tracker that takes none gets none."""
        if self.name == "tensorboard":
            self._tracker.log_images({name: pixels[None]}, step=step, dataformats="NHWC")
        elif self.name == "trackio":  # accelerate's own adapter has no pictures
            import trackio

            self._tracker.log({name: trackio.Image(pixels)}, step=step)
        elif hasattr(self._tracker, "log_images"):
            self._tracker.log_images({name: [pixels]}, step=step)

    def finish(self) -> None:
        """End the run."""
        self._tracker.finish()
