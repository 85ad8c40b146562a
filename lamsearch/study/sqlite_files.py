"""SQLite files: what is checked before one is opened, and how a new one comes to be."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from lamsearch.errors import StudyError, first_line

_OTHER_FORMAT = "file is not a database"
_SMALLEST_BYTES = 512
"""One page of SQLite; it takes less for a new file."""

_QUICKLY_CHECKED_BYTES = 64_000_000
_TABLES = ("studies", "trials", "version_info")
"""Tables of every database of Optuna."""

_NETWORK = {
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
}
"""File systems of several machines, on which SQLite's locks and its write-ahead log fail."""


def check_file(file: Path, *, create: bool) -> None:
    """Refuse a file that is not a sound SQLite database with the tables of Optuna.

    Nothing is written. A file that does not exist passes.

    Args:
        file: The database.
        create: Whether the tables may be absent, to be made.

    Raises:
        StudyError: If it is another kind of file, empty, damaged, of another program, or on a file
            system of several machines.
    """
    _refuse_network(file)
    try:
        found = os.stat(file)
    except FileNotFoundError:
        if file.is_symlink():
            raise _refusal(file, "is a link to nothing", "remove the link") from None
        return
    except OSError as error:
        raise StudyError(f"storage {file}: cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        raise _refusal(file, "is no regular file", "name a database")
    if found.st_size < _SMALLEST_BYTES:
        raise _refusal(file, "is empty: cut off, or never a database", "remove it to start anew")
    tables = _read(file, check=found.st_size <= _QUICKLY_CHECKED_BYTES)
    if not all(table in tables for table in _TABLES) and (tables or not create):
        has = f"the tables {', '.join(sorted(tables)[:3])}, …" if tables else "no tables"
        raise _refusal(file, f"is no database of studies: it has {has}", "name another")


def create_file(file: Path, make_tables: Callable[[Path], None]) -> None:
    """Create a database whole or not at all: workers that start together all find one of them.

    Args:
        file: Where it goes; left alone if it is there already.
        make_tables: Creates the tables in an empty file, and leaves it closed.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{file.name[:64]}-", dir=file.parent) as folder:
        new = Path(folder, "new.db")
        make_tables(new)
        try:
            os.link(new, file)
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            if not file.exists():
                os.replace(new, file)


def network_type(file: Path, mounts: str | None = None) -> str | None:
    """Return the type of the file system of several machines that a file is on, if it is.

    Args:
        file: Any path, existing or not.
        mounts: The table of mounts, as Linux shows it in `/proc/self/mounts`.
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="replace")
        except OSError:  # not Linux
            return None
    path = Path(os.path.realpath(file))
    fields = (line.split() for line in mounts.splitlines())
    points = [(Path(_unescaped(line[1])), line[2]) for line in fields if len(line) > 2]
    on_way = [(len(point.parts), kind) for point, kind in points if path.is_relative_to(point)]
    deepest = max((depth for depth, _ in on_way), default=0)
    # Of several mounts on one point the last is the one that is seen.
    kind = next((kind for depth, kind in reversed(on_way) if depth == deepest), None)
    return kind if kind in _NETWORK else None


def _refuse_network(file: Path) -> None:
    kind = network_type(file)
    if kind is not None:
        raise StudyError(
            f"storage {file} is on a file system of several machines ({kind}), where SQLite loses "
            "data: use a local folder, or a PostgreSQL server for workers on several machines"
        )


def _read(file: Path, *, check: bool) -> set[str]:
    """Return the names of the tables, and refuse a damaged file.

    Only SQLite itself may open the file: where a process closes a file, it loses all the locks that
    it has on it, and then two workers can write at once.
    """
    try:
        connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if check:
                (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if found != "ok":
                    raise sqlite3.DatabaseError(found)
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in rows}
        finally:
            connection.close()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise _refusal(file, "is locked by another program", "close that") from error
        raise StudyError(f"storage {file}: cannot be read: {first_line(error)}") from error
    except sqlite3.DatabaseError as error:
        if str(error) == _OTHER_FORMAT:
            raise _refusal(
                file, "is no SQLite database, or its start is damaged", "name another"
            ) from error
        raise _refusal(
            file, f"is damaged ({first_line(error)})", "restore a copy, or name another"
        ) from error


def _refusal(file: Path, what: str, do: str) -> StudyError:
    return StudyError(f"storage {file} {what}: {do}")


def _unescaped(point: str) -> str:
    """Return a mount point as a path: the table has spaces in it as octal escapes."""
    return point.encode().decode("unicode_escape") if "\\" in point else point
