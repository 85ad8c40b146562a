"""What the storage of a study can do wrong during a search, said in one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError

from lamsearch.errors import StudyError, first_line
from lamsearch.plain_text import shortened
from lamsearch.study.urls import redacted_url

DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading stored values ends in that are not those that were written."""

_ADVICE = {
    "disk is full": "free space, and start again",
    "no space left": "free space, and start again",
    "readonly": "make the file and its folder writable, and start again",
    "read-only": "make the file and its folder writable, and start again",
    "locked": "end the program that holds it, and start again",
    "malformed": "restore a copy, or start a new study",
    "not a database": "restore a copy, or start a new study",
}


@contextmanager
def storage_faults(url: str | None) -> Iterator[None]:
    """Raise the errors of the database's libraries as one line each.

    Args:
        url: The storage.

    Raises:
        StudyError: If one of them is raised inside of the block.
    """
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        reason = _reason(error)
        advice = next((do for sign, do in _ADVICE.items() if sign in reason.lower()), "")
        raise StudyError(
            f"storage {redacted_url(url)}: {reason}{': ' if advice else ''}{advice}"
        ) from error


@contextmanager
def damage(url: str | None) -> Iterator[None]:
    """Raise what reading a damaged database ends in as one line, and the faults of the storage.

    Args:
        url: The storage.

    Raises:
        StudyError: If one of them is raised inside of the block.
    """
    try:
        with storage_faults(url):
            yield
    except DAMAGE as error:
        raise StudyError(
            f"storage {redacted_url(url)} is damaged ({shortened(first_line(error))}): restore a "
            "copy, or name another"
        ) from error


class OpenedFile:
    """An SQLite file as it was opened: SQLite itself does not notice that it was removed.

    Args:
        file: The file; None for a storage that is none.

    Attributes:
        path: Its absolute path, which stays when the working directory changes.
    """

    def __init__(self, file: Path | None) -> None:
        self.path = None if file is None else file.absolute()
        self._identity = self._look()

    def require_present(self) -> None:
        """Raise `StudyError` if the file was removed or replaced since."""
        if self.path is None or self._look() == self._identity:
            return
        what = "replaced by another" if self.path.exists() else "removed"
        raise StudyError(f"storage {self.path} was {what} while the study was at work")

    def _look(self) -> tuple[int, int] | None:
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _reason(error: BaseException) -> str:
    """Return what the driver said, the innermost of the errors."""
    found = error
    while found.__cause__ is not None:
        found = found.__cause__
    if isinstance(found, sqlalchemy.exc.DBAPIError) and found.orig is not None:
        found = found.orig
    return first_line(found) if isinstance(found, Exception) else type(found).__name__
