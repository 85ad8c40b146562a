"""The few images that a search keeps at every λ for people to look at, as files."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from lamsearch.errors import StudyError
from lamsearch.study.urls import database_file

SIZE = 3
"""Number of images that a figure shows at every λ: the first ones of the plan."""

_LONGEST_NAME = 255
"""Bytes of a file's name."""

_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Warning)
"""What Pillow raises on files that are damaged, or absurdly large."""


class Gallery:
    """The kept images of one study, in a folder of its own beside the database.

    The folder is found once: a reward that changes the working directory does not move it.

    Args:
        study: Name of the study.
        storage: URL of its database. Where that is not a file, images go to `lamsearch-studies` in
            the working directory.
        size: Number of images at every λ: the first ones of the plan.
    """

    def __init__(self, study: str, storage: str | None, size: int = SIZE) -> None:
        self._size = size
        database = database_file(storage)
        parent = database.parent if database is not None else Path("lamsearch-studies")
        self._folder = parent.absolute() / _folder_name(study)

    def require_own_folder(self) -> None:
        """Refuse a file or a link in the folder's place, which would lead elsewhere.

        Raises:
            StudyError: If there is one.
        """
        if self._folder.is_symlink() or (self._folder.exists() and not self._folder.is_dir()):
            what = "a link" if self._folder.is_symlink() else "no folder"
            raise StudyError(
                f"{self._folder}, where the study's pictures go, is {what}: remove it, or name "
                "another study with --study"
            )

    def keep(
        self, lam: float, image_ids: Sequence[int], images: Sequence[Image.Image | None]
    ) -> None:
        """Save those images of a batch that belong to the gallery, each whole or not at all.

        Raises:
            StudyError: If one cannot be written.
        """
        for image_id, image in zip(image_ids, images, strict=True):
            if image_id < self._size and image is not None:
                self.require_own_folder()
                try:
                    _write(image, self._folder / _name(lam, image_id))
                except OSError as error:
                    problem = f"a picture cannot be written into {self._folder}"
                    raise StudyError(f"{problem}: {error.strerror or error}") from error

    def at(self, lam: float) -> list[Path | None]:
        """Return the files kept at λ in the order of the plan, None where there is none.

        What is damaged, a link, or too large for a picture counts as none.
        """
        if self._folder.is_symlink():
            return [None] * self._size
        return [self._found(lam, image_id) for image_id in range(self._size)]

    def _found(self, lam: float, image_id: int) -> Path | None:
        # An earlier version rounded λ in the names.
        names = (_name(lam, image_id), f"lam-{lam:.6f}-image-{image_id}.png")
        files = (self._folder / name for name in names)
        return next(filter(_is_picture, files), None)


def _folder_name(study: str) -> str:
    """Return a study's name as that of one folder, whatever it contains."""
    if study in (".", ".."):
        return study.replace(".", "%2E")
    name = quote(study, safe=" +", errors="surrogatepass")
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(study.encode(errors="surrogatepass")).hexdigest()[:16]
    return f"{name[:100]}-{digest}"


def _name(lam: float, image_id: int) -> str:
    """Return the name of a file, another one for every λ."""
    return f"lam-{float(lam)!r}-image-{image_id}.png"


def _write(image: Image.Image, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        image.save(new, format="png")
        os.replace(new, file)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


def _is_picture(file: Path) -> bool:
    if file.is_symlink() or not os.path.isfile(file):
        return False
    try:
        with Image.open(file) as opened:
            opened.load()
    except _UNREADABLE:
        return False
    return True
