"""Leases on the trials of one database: they end when their owner does.

Several machines agree on one clock, the database's. On one machine a lease belongs to its owner as
long as the process lives and is not stopped, whatever happens to the clock.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    event,
    func,
)

from lamsearch.study.process_state import ProcessState, machine_name, process_state, start_time

LEASE_SECONDS = 90.0
"""A lease that was not renewed for this long belongs to a worker that is gone."""

_HEARTBEAT_SECONDS = 20.0
_POLL_SECONDS = 0.02

LEASES = Table(
    "lamsearch_leases",
    MetaData(),
    Column("kind", String(8), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(32), nullable=False),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("expires", Float, nullable=False),
)


class LeaseLostError(Exception):
    """Another worker has taken a lease over; nothing was written."""


class Leases:
    """Leases on trials or on whole studies: one row each, taken and given back atomically.

    A thread renews the leases that are held, so a worker may be silent for hours. A worker that is
    gone loses them: at once to workers of its own machine, else after `LEASE_SECONDS`.

    Args:
        storage: Database of the rows. One in memory is not shared with other processes, and only
            the threads that share this object are kept apart.
        kind: What the keys are: ids of trials ("trial") or of studies ("study").
    """

    def __init__(self, storage: BaseStorage, kind: str = "trial") -> None:
        self._engine: Engine | None = getattr(storage, "engine", None)
        self._kind, self._owner, self._host = kind, uuid.uuid4().hex, machine_name()
        self._held: dict[int, threading.Event] = {}
        self._mutex = threading.Lock()
        self._fenced = threading.local()
        if self._engine is not None:
            sessions: Any = getattr(storage, "scoped_session")  # noqa: B009 (not in BaseStorage)
            event.listen(sessions, "before_commit", self._check_fence)

    @contextmanager
    def exclusive(self, key: int) -> Iterator[None]:
        """Wait until nobody has the lease, and hold it meanwhile."""
        while not self.claim(key):
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self.release(key)

    @contextmanager
    def fenced(self, key: int) -> Iterator[None]:
        """Let the storage commit nothing in this block unless the lease is this worker's.

        The lease is looked at, and locked, in the very transaction that writes: a worker that was
        paused for longer than its lease cannot write afterwards.

        Raises:
            LeaseLostError: From what would have written, if the lease is another worker's.
        """
        if self._engine is None and key not in self._held:
            raise LeaseLostError
        self._fenced.key = key
        try:
            yield
        finally:
            self._fenced.key = None

    def claim(self, key: int) -> bool:
        """Take a lease; False where a living worker holds it, or this very one."""
        with self._mutex:
            if key in self._held or (self._engine is not None and not self._take(key)):
                return False
            released = self._held[key] = threading.Event()
            if self._engine is not None:
                renew = threading.Thread(target=self._renew, args=(key, released), daemon=True)
                renew.start()
            return True

    def is_leased(self, key: int) -> bool:
        """Return whether a living worker has a lease."""
        if self._engine is None:
            return key in self._held
        if not sqlalchemy.inspect(self._engine).has_table(LEASES.name):
            return False  # a study that no worker of this version has opened yet
        with self._engine.connect() as connection:
            row = connection.execute(self._select(key)).first()
        return row is not None and self._alive(row)

    def release(self, key: int) -> None:
        """Give a lease back, if it is still this worker's."""
        with self._mutex:
            if key in self._held:
                self._held.pop(key).set()
            if self._engine is not None:
                with self._engine.begin() as connection:
                    connection.execute(LEASES.delete().where(self._mine(key)))

    def _renew(self, key: int, released: threading.Event) -> None:
        assert self._engine is not None
        later = LEASES.update().where(self._mine(key)).values(expires=self._expiry())
        while not released.wait(_HEARTBEAT_SECONDS):
            try:
                with self._engine.begin() as connection:
                    connection.execute(later)
            except sqlalchemy.exc.DBAPIError:
                continue  # a busy database: a lease outlives several renewals that were missed

    def _take(self, key: int) -> bool:
        assert self._engine is not None
        lease = {
            "owner": self._owner,
            "host": self._host,
            "pid": os.getpid(),
            "started": start_time(os.getpid()),
            "expires": self._expiry(),
        }
        try:
            with self._engine.begin() as connection:
                held = connection.execute(self._select(key).with_for_update()).first()
                if held is None:
                    connection.execute(LEASES.insert().values(kind=self._kind, item=key, **lease))
                elif held.owner != self._owner and self._alive(held):
                    return False
                else:
                    connection.execute(LEASES.update().where(self._row(key)).values(**lease))
        except sqlalchemy.exc.IntegrityError:  # another worker inserted the row first
            return False
        return True

    def _check_fence(self, session: Any) -> None:
        key = getattr(self._fenced, "key", None)
        if key is None:
            return
        mine = sqlalchemy.select(LEASES.c.item).where(self._mine(key)).with_for_update()
        if session.execute(mine).first() is None:
            raise LeaseLostError

    def _row(self, key: int) -> ColumnElement[bool]:
        return (LEASES.c.kind == self._kind) & (LEASES.c.item == key)

    def _mine(self, key: int) -> ColumnElement[bool]:
        return self._row(key) & (LEASES.c.owner == self._owner)

    def _select(self, key: int) -> sqlalchemy.Select[Any]:
        """Return the query of a lease, and of whether its end is still to come."""
        assert self._engine is not None
        current = (LEASES.c.expires > _now(self._engine)).label("current")
        return sqlalchemy.select(LEASES, current).where(self._row(key))

    def _expiry(self) -> ColumnElement[float]:
        assert self._engine is not None
        return _now(self._engine) + LEASE_SECONDS

    def _alive(self, lease: Any) -> bool:
        if lease.host == self._host:
            state = process_state(lease.pid, lease.started)
            if state != ProcessState.UNKNOWN:
                return state == ProcessState.AT_WORK
        return bool(lease.current)


def _now(engine: Engine) -> ColumnElement[float]:
    """Return the database's clock, in seconds since 1970: an expression that it evaluates."""
    now: ColumnElement[float]
    if engine.dialect.name == "sqlite":
        now = (func.julianday("now") - 2440587.5) * 86400.0
    elif engine.dialect.name == "postgresql":
        epoch = sqlalchemy.extract("epoch", func.clock_timestamp())
        now = sqlalchemy.cast(epoch, Float(53))
    else:
        now = func.unix_timestamp(func.now(6))
    return now
