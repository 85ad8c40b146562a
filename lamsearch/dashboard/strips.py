"""Kept images as artifacts: a strip per λ, drawn when somebody looks at it."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

from optuna.artifacts.exceptions import ArtifactNotFound
from PIL import Image

from lamsearch.errors import StudyError
from lamsearch.report.strip import Column, draw_strip

_KEY = "artifacts:"
_NAMESPACE = uuid.UUID("8bd0e3c2-6f0e-4c0b-9f5c-5d8f0f7f2a11")


class Strips:
    """An artifact store of Optuna's kind that holds the strips which were announced."""

    def __init__(self) -> None:
        self._announced: dict[str, tuple[float, Sequence[Path | None]]] = {}

    def announce(self, trial_id: int, lam: float, files: Sequence[Path | None]) -> dict[str, str]:
        """Return the system attribute by which a trial names its strip; none without images.

        Args:
            trial_id: The trial.
            lam: Its λ.
            files: The files of its images, None for a missing one.
        """
        if not any(files):
            return {}
        artifact = str(uuid.uuid5(_NAMESPACE, str(trial_id)))
        self._announced[artifact] = lam, files
        facts = {"artifact_id": artifact, "filename": f"lam-{lam:.3f}.png", "encoding": None}
        return {f"{_KEY}{artifact}": json.dumps({**facts, "mimetype": "image/png"})}

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Return the strip as a PNG.

        Raises:
            ArtifactNotFound: If there is none, or its files have gone.
        """
        try:
            lam, files = self._announced[artifact_id]
            pictures = [None if file is None else _opened(file) for file in files]
        except (KeyError, OSError) as error:
            raise ArtifactNotFound(f"no strip {artifact_id}") from error
        written = io.BytesIO()
        draw_strip([Column(f"λ = {lam:.3f}", pictures)]).save(written, format="png")
        written.seek(0)
        return written

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        """Refuse it."""
        raise StudyError("the dashboard only shows studies: nothing is changed")

    def remove(self, artifact_id: str) -> NoReturn:
        """Refuse it."""
        raise StudyError("the dashboard only shows studies: nothing is changed")


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as opened:
        return opened.convert("RGB")
