"""A PostgreSQL server of the tests' own, from the system's packages, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USERS = ("postgres", "nobody")
"""Who runs the server where the tests run as root, which it refuses."""


def programs() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, None where there is none."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a free port of the loopback, and yield the URL of an empty database."""
    folder = programs()
    assert folder is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as place:
        user = _user()
        if user is not None:
            shutil.chown(place, user)
        data, port = f"{place}/data", _free_port()
        _run(user, folder / "initdb", "-D", data, "-U", "tests", "-A", "trust", "-N", "-E", "UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place}"
        _run(
            user, folder / "pg_ctl", "-D", data, "-w", "-l", f"{place}/log", "-o", options, "start"
        )
        try:
            yield f"postgresql://tests@127.0.0.1:{port}/postgres"
        finally:
            _run(user, folder / "pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


def _user() -> str | None:
    if os.getuid() != 0:
        return None
    import pwd

    names = {each.pw_name for each in pwd.getpwall()}
    return next(name for name in USERS if name in names)


def _run(user: str | None, *command: object) -> None:
    given = [str(part) for part in command]
    as_user = ["runuser", "-u", user, "--"] if user else []
    done = subprocess.run(
        [*as_user, *given], cwd="/", capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
