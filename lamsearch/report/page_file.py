"""Writes a page so that a reader finds the old file or the new one, never a half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from lamsearch.errors import SettingsError


def write_page(text: str, output: Path) -> None:
    """Write a page at once, through a file beside it.

    Raises:
        SettingsError: If it cannot be written.
    """
    temporary = None
    try:
        if output.is_dir():
            raise IsADirectoryError(f"{output} is a folder")
        handle, name = tempfile.mkstemp(prefix=".lamsearch-", suffix=".html", dir=output.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(output)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise SettingsError(f"cannot write {output}: {reason}") from error


def _umask() -> int:
    """Return the process's mask of file modes, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
