"""Opening the study database so that a kill loses nothing and workers do not collide."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, event

from lamsearch.errors import StudyError, first_line

LEASE_SECONDS = 90.0
"""A lease that was not renewed for so long belongs to a worker that is gone."""

_HEARTBEAT_SECONDS = 20.0
_BUSY_TIMEOUT_SECONDS = 60

_LEASES = Table(
    "lamsearch_leases",
    MetaData(),
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(32), nullable=False),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("expires", Float, nullable=False),
)


def open_storage(url: str | None) -> BaseStorage:
    """Return the storage at an SQLAlchemy URL, created if need be; None gives one in memory.

    SQLite is opened with a write-ahead log, `synchronous=FULL`, a busy timeout of 60 s and
    `BEGIN IMMEDIATE`, without which two workers can take the same trial.

    Raises:
        StudyError: If the database cannot be opened.
    """
    if url is None or url in ("sqlite://", "sqlite:///:memory:"):
        return InMemoryStorage()
    try:
        if url.startswith("sqlite"):
            return _open_sqlite(url)
        storage = RDBStorage(url)
        _LEASES.metadata.create_all(storage.engine)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        raise StudyError(f"storage {shown(url)}: cannot be opened: {first_line(error)}") from error
    return storage


def shown(url: str | None) -> str | None:
    """Return a storage's URL as it may be shown: without the password."""
    if url is None or "://" not in url:
        return url
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url.split("://")[0] + "://…"


def database_file(url: str | None) -> Path | None:
    """Return the file of an SQLite storage, None for any other."""
    if url is None or not url.startswith("sqlite"):
        return None
    database = sqlalchemy.make_url(url).database
    return Path(database) if database and database != ":memory:" else None


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
    _LEASES.metadata.create_all(engine)
    return storage


class Leases:
    """Who works on which trial: one row a running trial, taken and renewed atomically.

    A thread renews the leases that are held, so that a worker may be silent for hours.
    """

    def __init__(self, storage: BaseStorage) -> None:
        # A storage in memory has no other process to share with.
        self._engine: Engine | None = getattr(storage, "engine", None)
        self._owner, self._host = uuid.uuid4().hex, socket.gethostname()
        self._held: dict[int, threading.Event] = {}

    def acquire(self, trial_id: int) -> bool:
        """Take or renew the lease of a trial; False where a living worker holds it."""
        if self._engine is None:
            return True
        taken = self._take(trial_id)
        if taken and trial_id not in self._held:
            self._held[trial_id] = threading.Event()
            threading.Thread(
                target=self._renew, args=(trial_id, self._held[trial_id]), daemon=True
            ).start()
        return taken

    def release(self, trial_id: int) -> None:
        """Give the lease of a trial back."""
        if self._engine is None:
            return
        if trial_id in self._held:
            self._held.pop(trial_id).set()
        mine = (_LEASES.c.trial_id == trial_id) & (_LEASES.c.owner == self._owner)
        with self._engine.begin() as connection:
            connection.execute(_LEASES.delete().where(mine))

    def _renew(self, trial_id: int, released: threading.Event) -> None:
        while not released.wait(_HEARTBEAT_SECONDS):
            self._take(trial_id)

    def _take(self, trial_id: int) -> bool:
        assert self._engine is not None
        lease = {
            "owner": self._owner,
            "host": self._host,
            "pid": os.getpid(),
            "expires": time.time() + LEASE_SECONDS,
        }
        of_trial = _LEASES.c.trial_id == trial_id
        try:
            with self._engine.begin() as connection:
                held = connection.execute(
                    sqlalchemy.select(_LEASES).where(of_trial).with_for_update()
                ).first()
                if held is None:
                    connection.execute(_LEASES.insert().values(trial_id=trial_id, **lease))
                elif held.owner != self._owner and self._alive(held):
                    return False
                else:
                    connection.execute(_LEASES.update().where(of_trial).values(**lease))
        except sqlalchemy.exc.IntegrityError:  # another worker inserted the row first
            return False
        return True

    def _alive(self, lease: Any) -> bool:
        if lease.expires < time.time():
            return False
        if lease.host != self._host or os.name != "posix":
            return True
        try:
            os.kill(lease.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it is there, and somebody else's
        return True
