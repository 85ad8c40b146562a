"""The few images that a search keeps at every λ for people to look at, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL.Image import Image

from lamsearch.study.storage import database_file

SIZE = 3
"""Number of images kept at every λ: the first ones of the plan."""


class Gallery:
    """The kept images of one study.

    Args:
        study: Name of the study.
        storage: URL of its database. Where that is not a file, images go to `lamsearch-studies` in
            the working directory.
    """

    def __init__(self, study: str, storage: str | None) -> None:
        database = database_file(storage)
        parent = database.parent if database is not None else Path("lamsearch-studies")
        self._folder = parent / quote(study, safe=" +")

    def keep(self, lam: float, image_ids: Sequence[int], images: Sequence[Image | None]) -> None:
        """Save those images of a batch that belong to the gallery."""
        for image_id, image in zip(image_ids, images, strict=True):
            if image_id < SIZE and image is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
                image.save(self._file(lam, image_id))

    def at(self, lam: float) -> list[Path | None]:
        """Return the files kept at λ in the order of the plan, None where there is none."""
        files = [self._file(lam, image_id) for image_id in range(SIZE)]
        return [file if file.is_file() else None for file in files]

    def _file(self, lam: float, image_id: int) -> Path:
        return self._folder / f"lam-{lam:.6f}-image-{image_id}.png"
