"""Standard output is for the answer alone; what rewards and libraries print goes elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_OUT, _ERR = 1, 2


def open_what_is_closed() -> None:
    """Open standard streams that are closed, onto nothing.

    Else the next file that is opened, such as the database, gets their number, and whoever prints
    writes into it. `sys.stdout` stays None then: there is nowhere to print an answer.
    """
    for descriptor in range(_ERR + 1):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  stays open as long as the process


@contextmanager
def prints_to_stderr() -> Iterator[None]:
    """Send to standard error what is printed meanwhile, by Python, C code or child processes."""
    _flush(sys.stdout)
    stdout, kept = sys.stdout, os.dup(_OUT)
    os.dup2(_ERR, _OUT)
    # Not sys.stderr itself: a reward may close what it prints to.
    messages = open(os.dup(_ERR), "w", buffering=1, encoding="utf-8", errors="replace")  # noqa: SIM115
    sys.stdout = messages
    try:
        yield
    finally:
        sys.stdout = stdout
        for stream in (messages, stdout):  # who kept the latter has printed into its buffer
            _flush(stream)
        os.dup2(kept, _OUT)
        os.close(kept)
        with suppress(OSError):
            messages.close()


def end_output() -> None:
    """Write out what was printed; what is printed from now on, as at exit, goes to standard error.

    Raises:
        OSError: If it cannot be written.
    """
    try:
        write_out()
    finally:
        os.dup2(_ERR, _OUT)


def write_out() -> None:
    """Write out what was printed, or drop it: it would fail again at the interpreter's exit.

    Raises:
        OSError: If it cannot be written.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _OUT)
        os.close(nowhere)
        with suppress(OSError):
            sys.stdout.flush()
        raise


def reader_is_gone() -> bool:
    """Return whether nobody reads standard output or standard error any more."""
    import select

    poll = select.poll()
    for descriptor in (_OUT, _ERR):
        poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _flush(stream: TextIO) -> None:
    """Flush a stream and the buffers of C code."""
    import ctypes

    with suppress(OSError, ValueError):  # broken or closed: whoever prints the answer will see it
        stream.flush()
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
