"""Start or join a Ray cluster, silently, and leave nothing of it behind."""

from __future__ import annotations

import importlib
import io
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO, cast

from lamsearch.errors import EvaluationError, SettingsError, first_line

LOCAL = "local"
"""The address that means: start Ray on this machine, and stop it at the end."""

_HINT = "; start one with 'ray start --head', or use --ray local"
_PATIENCE_SECONDS = 10
_STORE_BYTES = 256 * 2**20
"""Ray's object store: it only holds plans and the few images that a study keeps."""


def import_ray(address: str) -> Any:
    """Return the module `ray`.

    Raises:
        SettingsError: If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError:
        raise SettingsError(
            f"ray {address} given, but Ray is not installed: pip install 'lamsearch[ray]'"
        ) from None


@contextmanager
def ray_session(address: str, actors: int | None) -> Iterator[Any]:
    """Yield the module `ray`, connected to a cluster; one that was connected before stays so.

    Args:
        address: `local`, or that of a cluster.
        actors: Number of actors that a local Ray must have room for.

    Raises:
        SettingsError: If Ray is not installed.
        EvaluationError: If there is no cluster at the address.
    """
    ray = import_ray(address)
    if ray.is_initialized():
        yield ray
        return
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        stack.callback(_shut_down, ray)
        _connect(ray, address, actors)
        yield ray


def _require_listening(address: str) -> None:
    """Refuse an address where nobody listens at once: Ray tries for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EvaluationError(f"no Ray cluster at {address}: {first_line(error)}{_HINT}") from error


def _connect(ray: Any, address: str, actors: int | None) -> None:
    _require_listening(address)
    room = {"num_cpus": max(actors or 1, os.cpu_count() or 1), "object_store_memory": _STORE_BYTES}
    options = {**room, "include_dashboard": False} if address == LOCAL else {}
    try:
        with _own_termination():
            ray.init(address, log_to_driver=False, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = "" if address == LOCAL else _HINT
        raise EvaluationError(f"no Ray cluster at {address}: {first_line(error)}{hint}") from error


def _shut_down(ray: Any) -> None:
    # It prints the messages that it has held back.
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        ray.shutdown()


@contextmanager
def _own_termination() -> Iterator[None]:
    """Keep the handler of SIGTERM, which Ray replaces by one that ends the process."""
    former = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, former)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray from writing to the terminal, and from reporting its use to its makers."""
    logger = logging.getLogger("ray")
    level, stdout, known = logger.level, sys.stdout, set(os.environ)
    defaults = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    logger.setLevel(logging.CRITICAL)
    sys.stdout = cast("TextIO", _WithoutRay(stdout))
    try:
        yield
    finally:
        sys.stdout = stdout
        logger.setLevel(level)
        for name in defaults.keys() - known:
            del os.environ[name]


class _WithoutRay:
    """Standard output without what Ray's own threads print there, whatever Ray is told.

    Args:
        stream: Where all else goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, unless the caller is a thread of Ray."""
        if threading.current_thread().name.startswith("ray_"):
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
