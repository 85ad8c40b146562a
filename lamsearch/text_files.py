"""Text files from outside, read whole: regular files only, of a limited size, in UTF-8.

A pipe would keep a command waiting, and a device such as `/dev/zero` never ends.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from lamsearch.errors import LamsearchError
from lamsearch.plain_text import LONGEST_PATH, shortened, shown

_MEGABYTE = 1_000_000


def read_text_file(path: Path, *, largest: int, error: type[LamsearchError]) -> str:
    """Return the text of a file, without a byte order mark.

    Args:
        path: The file; a link to one is followed.
        largest: Bytes that it may have.
        error: What to raise.

    Raises:
        LamsearchError: Of the type `error`, if it is no regular file, larger, not UTF-8, or
            cannot be read; the message names the file and what to do.
    """
    content = _bytes(path, largest, error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        reason = f"not UTF-8 at byte {problem.start}; save it as UTF-8"
        raise error(f"{_name(path)}: {reason}") from None


def _bytes(path: Path, largest: int, error: type[LamsearchError]) -> bytes:
    try:
        with open(path, "rb", opener=_opened) as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{_name(path)}: is {_kind(found.st_mode)}, expected a file of text")
            content = b"" if found.st_size > largest else opened.read(largest + 1)
    except IsADirectoryError:
        raise error(f"{_name(path)}: is a folder, expected a file of text") from None
    except (OSError, ValueError) as problem:  # the latter for a NUL character in the path
        if os.path.islink(path) and not os.path.exists(path):
            raise error(f"{_name(path)}: is a link to nothing; mend it, or remove it") from None
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise error(f"{_name(path)}: cannot be read: {reason or problem}") from problem
    if found.st_size > largest or len(content) > largest:
        size = f"larger than {largest // _MEGABYTE} MB, the most that is read"
        raise error(f"{_name(path)}: {size}; is it the right file?")
    return content


def _opened(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _name(path: Path) -> str:
    """Return a path for a message, quoted only where it needs to be."""
    given = str(path)
    return shortened(given, LONGEST_PATH) if given.isprintable() else shown(given, LONGEST_PATH)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "no regular file")
