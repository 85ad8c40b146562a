"""Opening the study database so that a kill loses nothing and workers do not collide."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from sqlalchemy import Column, Engine, Float, Integer, MetaData, String, Table, event

from lamsearch.errors import StudyError, first_line

LEASE_SECONDS = 1800.0
"""A lease is renewed with every batch; one this old belongs to a worker that is gone."""

_BUSY_TIMEOUT_SECONDS = 60

_LEASES = Table(
    "lamsearch_leases",
    MetaData(),
    Column("trial_id", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(64), nullable=False),
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
    if url is None:
        return InMemoryStorage()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = url.startswith("sqlite")
    connect_args = {"timeout": _BUSY_TIMEOUT_SECONDS} if sqlite else {}
    try:
        if sqlite:
            _make_folder(url)
        storage = RDBStorage(url, engine_kwargs={"connect_args": connect_args})
        if sqlite:
            _harden(storage.engine)
        _LEASES.metadata.create_all(storage.engine)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError, RuntimeError) as error:
        raise StudyError(f"storage {url}: cannot be opened: {first_line(error)}") from error
    return storage


def _make_folder(url: str) -> None:
    database = sqlalchemy.make_url(url).database
    if database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)


def _harden(engine: Engine) -> None:
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


class Leases:
    """Who works on which trial: one row a running trial, taken and renewed atomically."""

    def __init__(self, storage: BaseStorage) -> None:
        # A storage in memory has no other process to share with.
        self._engine: Engine | None = getattr(storage, "engine", None)
        self._host = socket.gethostname()
        self._owner = f"{self._host}:{os.getpid()}:{time.time_ns()}"

    def acquire(self, trial_id: int) -> bool:
        """Take or renew the lease of a trial; False where a living worker holds it."""
        if self._engine is None:
            return True
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

    def release(self, trial_id: int) -> None:
        """Give the lease of a trial back."""
        if self._engine is None:
            return
        with self._engine.begin() as connection:
            connection.execute(
                _LEASES.delete().where(
                    _LEASES.c.trial_id == trial_id, _LEASES.c.owner == self._owner
                )
            )

    def _alive(self, lease: Any) -> bool:
        if lease.expires < time.time():
            return False
        if lease.host != self._host:
            return True
        try:
            os.kill(lease.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        # This very process, but another study object: the one before it is finished with.
        return bool(lease.pid != os.getpid())
