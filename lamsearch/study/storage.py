"""Opens study databases so that a kill loses nothing and workers do not collide."""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import URL

from lamsearch.errors import StudyError, first_line
from lamsearch.study.leases import LEASES
from lamsearch.study.sqlite_files import check_file, create_file
from lamsearch.study.urls import database_file, is_in_memory, parse_url, redacted_url

DEFAULT_STORAGE = "sqlite:///lamsearch-studies/studies.db"
"""Default database, in the working directory."""

STORAGE_VARIABLE = "LAMSEARCH_STORAGE"
"""Environment variable with another default: a password in it is in no command line."""

_BUSY_TIMEOUT_SECONDS = 60
_FOR_WORK = ("journal_mode=WAL", "synchronous=FULL")
_FOR_READING = ("query_only=ON",)
_OPENING_TRIES, _OPENING_PAUSE_SECONDS = 8, 0.1


def chosen_storage(given: str | None) -> str:
    """Return the given URL of a storage, else that of the environment, else the default one."""
    return given or os.environ.get(STORAGE_VARIABLE) or DEFAULT_STORAGE


def open_storage(url: str | None, *, create: bool = True) -> BaseStorage:
    """Return the storage at an SQLAlchemy URL; None gives one in memory.

    SQLite is opened with a write-ahead log, `synchronous=FULL`, a busy timeout of 60 s and
    `BEGIN IMMEDIATE`, without which two workers can take the same trial.

    Args:
        url: SQLAlchemy URL of the database.
        create: Whether an SQLite file, or tables, are created where there are none; else nothing
            is written.

    Raises:
        StudyError: If the database cannot be opened.
    """
    if url is None or is_in_memory(url):
        return InMemoryStorage()
    parsed, file = parse_url(url), database_file(url)
    if not create and file is not None and not file.exists() and not file.is_symlink():
        raise StudyError(
            f"storage {redacted_url(url)} does not exist: name the one that holds the study "
            "(--storage), or start the study first"
        )
    try:
        if file is not None:
            storage = _open_file(parsed, file, create=create)
        else:
            storage = _open_server(parsed, create=create)
    except ModuleNotFoundError as error:
        raise StudyError(_without_driver(url, error)) from error
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        raise StudyError(
            f"storage {redacted_url(url)}: cannot be opened: {first_line(error)}"
        ) from error
    weakref.finalize(storage, storage.engine.dispose)  # closes the connections
    return storage


@dataclass(frozen=True)
class _Connect:
    """Connects to an SQLite file.

    A file that was removed is not silently made anew. The driver's own transactions start too late,
    at the first write: it is to leave them to `_SqliteStorage`.
    """

    place: str
    pragmas: Sequence[str]

    def __call__(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.place,
            uri=True,
            timeout=_BUSY_TIMEOUT_SECONDS,
            check_same_thread=False,
            isolation_level=None,
        )
        for pragma in self.pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection


class _SqliteStorage(RDBStorage):
    """Optuna's storage in an SQLite file, with transactions that hold the lock from their start."""

    def __init__(self, url: URL, file: Path, *, create: bool) -> None:
        self._begin = "BEGIN IMMEDIATE" if create else "BEGIN"
        place = f"{file.absolute().as_uri()}?mode={'rw' if create else 'ro'}"
        connect = _Connect(place, _FOR_WORK if create else _FOR_READING)
        super().__init__(
            url.render_as_string(hide_password=False),
            engine_kwargs={"creator": connect},
            skip_table_creation=not create,
        )
        self._listen()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._listen()

    def _listen(self) -> None:
        begin = self._begin
        event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def _open_file(url: URL, file: Path, *, create: bool) -> RDBStorage:
    check_file(file, create=create)
    if create and not file.exists():
        create_file(file, _make_tables)
    storage = _SqliteStorage(url, file, create=create)
    if create:
        LEASES.metadata.create_all(storage.engine)
    return storage


def _make_tables(file: Path) -> None:
    storage = RDBStorage(URL.create("sqlite", database=str(file)).render_as_string())
    LEASES.metadata.create_all(storage.engine)
    storage.engine.dispose()


def _open_server(url: URL, *, create: bool) -> RDBStorage:
    """Open a database; workers that start together on a new one create its tables at once."""
    given = url.render_as_string(hide_password=False)
    for attempt in range(1, _OPENING_TRIES + 1):
        try:
            storage = RDBStorage(given, skip_table_creation=not create)
            if create:
                LEASES.metadata.create_all(storage.engine)
        except sqlalchemy.exc.DBAPIError as error:
            others = isinstance(error, sqlalchemy.exc.IntegrityError)
            if attempt == _OPENING_TRIES or not (others or "already exists" in str(error)):
                raise
            time.sleep(_OPENING_PAUSE_SECONDS)
        else:
            return storage
    raise AssertionError("unreachable")


def _without_driver(url: str, error: ModuleNotFoundError) -> str:
    name = "lamsearch[postgres]" if error.name in ("psycopg", "psycopg2") else error.name
    return f"storage {redacted_url(url)} needs the package {error.name}: pip install '{name}'"
