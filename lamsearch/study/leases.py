"""Leases on the trials of one database: they end when their owner does."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.storages import BaseStorage
from sqlalchemy import Column, ColumnElement, Engine, Float, Integer, MetaData, String, Table

LEASE_SECONDS = 90.0
"""A lease that was not renewed for this long belongs to a worker that is gone."""

_HEARTBEAT_SECONDS = 20.0
_POLL_SECONDS = 0.05

LEASES = Table(
    "lamsearch_owners",
    MetaData(),
    Column("kind", String(8), primary_key=True),
    Column("item", Integer, primary_key=True, autoincrement=False),
    Column("owner", String(32), nullable=False),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("expires", Float, nullable=False),
)


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
        self._kind, self._owner, self._host = kind, uuid.uuid4().hex, _machine()
        self._held: dict[int, threading.Event] = {}
        self._mutex = threading.Lock()

    @contextmanager
    def exclusive(self, key: int) -> Iterator[None]:
        """Wait until nobody has the lease, and hold it meanwhile."""
        while not self.claim(key):
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            self.release(key)

    def claim(self, key: int) -> bool:
        """Take a lease; False where a living worker holds it, or this very one."""
        with self._mutex:
            return key not in self._held and self._acquire(key)

    def acquire(self, key: int) -> bool:
        """Take or renew a lease; False where another living worker holds it."""
        with self._mutex:
            return self._acquire(key)

    def is_leased(self, key: int) -> bool:
        """Return whether a living worker has a lease."""
        if self._engine is None:
            return key in self._held
        with self._engine.connect() as connection:
            row = connection.execute(sqlalchemy.select(LEASES).where(self._row(key))).first()
        return row is not None and self._alive(row)

    def release(self, key: int) -> None:
        """Give a lease back."""
        with self._mutex:
            if key in self._held:
                self._held.pop(key).set()
            if self._engine is not None:
                with self._engine.begin() as connection:
                    connection.execute(LEASES.delete().where(self._mine(key)))

    def _acquire(self, key: int) -> bool:
        if self._engine is not None and not self._take(self._engine, key):
            return False
        if key not in self._held:
            released = self._held[key] = threading.Event()
            if self._engine is not None:
                arguments = (self._engine, key, released)
                threading.Thread(target=self._renew, args=arguments, daemon=True).start()
        return True

    def _renew(self, engine: Engine, key: int, released: threading.Event) -> None:
        while not released.wait(_HEARTBEAT_SECONDS):
            later = LEASES.update().where(self._mine(key)).values(expires=_expiry())
            try:
                with engine.begin() as connection:
                    connection.execute(later)
            except sqlalchemy.exc.OperationalError:
                continue  # a busy database: a lease outlives several renewals that were missed

    def _take(self, engine: Engine, key: int) -> bool:
        lease = {
            "owner": self._owner,
            "host": self._host,
            "pid": os.getpid(),
            "expires": _expiry(),
        }
        row = self._row(key)
        try:
            with engine.begin() as connection:
                held = connection.execute(
                    sqlalchemy.select(LEASES).where(row).with_for_update()
                ).first()
                if held is None:
                    new = LEASES.insert().values(kind=self._kind, item=key, **lease)
                    connection.execute(new)
                elif held.owner != self._owner and self._alive(held):
                    return False
                else:
                    connection.execute(LEASES.update().where(row).values(**lease))
        except sqlalchemy.exc.IntegrityError:  # another worker inserted the row first
            return False
        return True

    def _row(self, key: int) -> ColumnElement[bool]:
        return (LEASES.c.kind == self._kind) & (LEASES.c.item == key)

    def _mine(self, key: int) -> ColumnElement[bool]:
        return self._row(key) & (LEASES.c.owner == self._owner)

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


def _expiry() -> float:
    return time.time() + LEASE_SECONDS


def _machine() -> str:
    """Return a name of the machine or container within which process ids are unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()
