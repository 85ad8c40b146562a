"""Opens study databases so that a kill loses nothing and workers do not collide."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import Engine, event

from lamsearch.errors import StudyError, first_line
from lamsearch.study.leases import LEASES

DEFAULT_STORAGE = "sqlite:///lamsearch-studies/studies.db"
"""Default database, in the working directory."""

_BUSY_TIMEOUT_SECONDS = 60
_OPENING_TRIES, _OPENING_PAUSE_SECONDS = 8, 0.1


def open_storage(url: str | None, *, create: bool = True) -> BaseStorage:
    """Return the storage at an SQLAlchemy URL; None gives one in memory.

    SQLite is opened with a write-ahead log, `synchronous=FULL`, a busy timeout of 60 s and
    `BEGIN IMMEDIATE`, without which two workers can take the same trial.

    Args:
        url: SQLAlchemy URL of the database.
        create: Whether an SQLite file is created where there is none.

    Raises:
        StudyError: If the database cannot be opened.
    """
    if url is None or url in ("sqlite://", "sqlite:///:memory:"):
        return InMemoryStorage()
    try:
        file = database_file(url)
        if not create and file is not None and not file.exists():
            raise StudyError(
                f"storage {redacted_url(url)} does not exist: name the one that holds the study "
                "(--storage), or start the study first"
            )
        return _patiently(_open_sqlite if url.startswith("sqlite") else _open_server, url)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        raise StudyError(
            f"storage {redacted_url(url)}: cannot be opened: {first_line(error)}"
        ) from error


def redacted_url(url: str | None) -> str | None:
    """Return a storage's URL without the password, fit for messages."""
    if url is None or "://" not in url:
        return url
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url.split("://")[0] + "://…"


def database_file(url: str | None) -> Path | None:
    """Return the file of an SQLite storage; None for any other, and for a `file:` URI."""
    if url is None or not url.startswith("sqlite"):
        return None
    database = sqlalchemy.make_url(url).database or ":memory:"
    return None if database.startswith((":memory:", "file:")) else Path(database)


def _patiently(open_: Callable[[str], RDBStorage], url: str) -> RDBStorage:
    """Open a database; workers that start together on a new one create its tables at once."""
    for _ in range(_OPENING_TRIES - 1):
        try:
            return open_(url)
        except sqlalchemy.exc.DBAPIError as error:
            others = isinstance(error, sqlalchemy.exc.IntegrityError)
            if not others and "already exists" not in str(error):
                raise
            time.sleep(_OPENING_PAUSE_SECONDS)
    return open_(url)


def _open_server(url: str) -> RDBStorage:
    storage = RDBStorage(url)
    LEASES.metadata.create_all(storage.engine)
    return storage


def _open_sqlite(url: str) -> RDBStorage:
    file = database_file(url)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _BUSY_TIMEOUT_SECONDS}})
    engine: Engine = storage.engine

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: Any) -> None:
        # The driver's own transactions start too late, at the first write: begin them ourselves.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()  # connections opened before the listeners were there
    LEASES.metadata.create_all(engine)
    return storage
