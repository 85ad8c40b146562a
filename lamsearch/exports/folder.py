"""A folder that appears whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lamsearch.errors import ExportError, SettingsError


def require_free(folder: Path) -> None:
    """Check that a folder can be written, before anything is computed.

    Raises:
        SettingsError: If it exists and is not empty, or cannot be made.
    """
    try:
        _require_empty(folder)
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        partial = _partial(folder)
        partial.mkdir()
        partial.rmdir()
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot write {folder}: {_reason(error)}") from error


def require_space(folder: Path, size: int) -> None:
    """Check that so many bytes fit on the disk of a folder that does not exist yet.

    Raises:
        ExportError: If they do not.
    """
    free = shutil.disk_usage(folder.absolute().parent).free
    if size > free:
        raise ExportError(
            f"{folder} needs {size / 1e9:.2f} GB and the disk has {free / 1e9:.2f} GB left: make "
            "room, or name a folder on another disk"
        )


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Give a folder beside the final one to write into, and move it there at the end.

    Raises:
        SettingsError: If the final folder is no longer free.
        ExportError: If the disk is full or refuses a file; nothing is left behind.
    """
    require_free(folder)
    partial = _partial(folder)
    try:
        partial.mkdir()
        yield partial
        _require_empty(folder)
        _let_others_read(partial)
        if folder.is_dir():
            folder.rmdir()  # empty; elsewhere than on POSIX a rename does not replace it
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise ExportError(f"cannot write {folder}: {_reason(error)}; nothing is left") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_empty(folder: Path) -> None:
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise SettingsError(f"{folder} exists and is no folder: name a new one")
    if any(folder.iterdir()):
        raise SettingsError(f"{folder} exists and is not empty: name a new folder")


def _let_others_read(folder: Path) -> None:
    """Give all files the usual permissions: safetensors makes files that only their owner reads."""
    usual = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(usual)


def _partial(folder: Path) -> Path:
    absolute = folder.absolute()
    # Shortened: with the addition, a long name would no longer be allowed.
    return absolute.parent / f".{absolute.name[:60]}.partial-{os.getpid()}"


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return os.strerror(errno.ENOSPC) if error.errno == errno.ENOSPC else error.strerror
    return " ".join(str(error).split())
