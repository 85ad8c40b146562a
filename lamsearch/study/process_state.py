"""Which process this is, in words that tell it from every other, and whether another one lives."""

from __future__ import annotations

import os
import socket
from enum import Enum
from pathlib import Path

_STARTED_FIELD = 19
"""Start time among the fields of `/proc/PID/stat` that follow the process's name; the state is
field 0."""


class ProcessState(Enum):
    """What is known of a process."""

    GONE = "gone"
    AT_WORK = "at work"
    UNKNOWN = "unknown"
    """It was stopped, or this system does not tell."""


def machine_name() -> str:
    """Return a name of the machine or container within which process ids are unique."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def start_time(pid: int) -> int:
    """Return when a process started, in the machine's ticks: ids are used again. 0 = not known."""
    fields = _fields(pid)
    return 0 if fields is None else int(fields[_STARTED_FIELD])


def process_state(pid: int, started: int) -> ProcessState:
    """Return the state of a process of this machine.

    Args:
        pid: Its id.
        started: Its start time, as `start_time` gave it then.
    """
    if os.name != "posix":
        return ProcessState.UNKNOWN
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return ProcessState.GONE
    except PermissionError:
        pass  # it is there, and somebody else's
    fields = _fields(pid)
    if fields is None or not started:
        return ProcessState.UNKNOWN
    if fields[0] in "ZX" or int(fields[_STARTED_FIELD]) != started:
        return ProcessState.GONE
    return ProcessState.UNKNOWN if fields[0] in "Tt" else ProcessState.AT_WORK


def _fields(pid: int) -> list[str] | None:
    """Return the fields of `/proc/PID/stat` after the name, None where there are none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
