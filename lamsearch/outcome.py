"""How a command ends: one line for whatever went wrong, and the exit status."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from lamsearch.commands.printing import say
from lamsearch.errors import LamsearchError, SettingsError, described
from lamsearch.plain_text import LONGEST_MESSAGE, shortened

DONE, FAILED, USAGE = 0, 1, 2
SIGNALLED = 128
"""Exit status of a process that a signal ended: this plus the signal's number."""


class _TerminatedError(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: leases are given back."""


class _UnreadError(BrokenPipeError):
    """Nobody reads standard output any more."""


def outcome(
    command: Callable[[dict[str, Any]], None],
    options: dict[str, Any],
    *,
    given: Sequence[str],
    debug: bool,
) -> int:
    """Call a command and return the exit status.

    Args:
        command: Takes the options.
        options: What the command line's flags say.
        given: The command line itself, to be repeated after an interruption.
        debug: Whether to raise an error rather than print one line.
    """
    try:
        if not debug:
            from lamsearch.process import silence_library_warnings

            silence_library_warnings()
        with _terminable():
            _call(command, options)
    except KeyboardInterrupt as error:
        return stopped(given, terminated=isinstance(error, _TerminatedError))
    except BaseException as error:  # SystemExit too: the status of a command is not a library's
        if debug:
            raise
        return _failed(error)
    return DONE


def stopped(given: Sequence[str], *, terminated: bool = False) -> int:
    """Say how to resume what Ctrl-C or SIGTERM stopped, and return the exit status."""
    with suppress(OSError, ValueError):  # nobody listens, or somebody has closed the stream
        say(f"stopped; resume with: lamsearch {shlex.join(map(_without_password, given))}")
    return SIGNALLED + (signal.SIGTERM if terminated else signal.SIGINT)


def _call(command: Callable[[dict[str, Any]], None], options: dict[str, Any]) -> None:
    """Call a command, and write out what it has printed.

    Raises:
        LamsearchError: If there is nowhere to print its answer.
    """
    from lamsearch.standard_streams import write_out

    if "json" in options and sys.stdout is None:
        raise LamsearchError(
            "standard output is closed, expected somewhere to print the answer: redirect it"
        )
    command(options)
    try:
        write_out()
    except BrokenPipeError as error:
        raise _UnreadError from error
    except OSError as error:
        raise LamsearchError(f"the answer cannot be printed: {error.strerror}") from error


def _failed(error: BaseException) -> int:
    """Say what happened, where anybody listens, and return the exit status."""
    from lamsearch.standard_streams import reader_is_gone, write_out

    # rich ends the process where it cannot write.
    may_be_unread = isinstance(error, BrokenPipeError | SystemExit)
    if isinstance(error, _UnreadError) or (may_be_unread and reader_is_gone()):
        with suppress(OSError):
            write_out()
        return SIGNALLED + signal.SIGPIPE
    with suppress(OSError, ValueError):
        say(f"error: {_one_line(error)}")
    return USAGE if isinstance(error, SettingsError) else FAILED


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `_TerminatedError` on SIGTERM; only the main thread may set that up."""

    def terminate(*_: object) -> NoReturn:
        raise _TerminatedError

    try:
        former = signal.signal(signal.SIGTERM, terminate)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _without_password(argument: str) -> str:
    """Return an argument as it may be shown: `URL` and `--storage=URL` without passwords."""
    if "://" not in argument:
        return argument
    flag, separator, value = "", "", argument
    if argument.startswith("--"):
        flag, separator, value = argument.partition("=")
    try:
        from lamsearch.study.urls import redacted_url
    except Exception:  # Ctrl-C has left a module behind that is imported in part
        return f"{flag}{separator}URL"
    return f"{flag}{separator}{redacted_url(value)}"


def _one_line(error: BaseException) -> str:
    if isinstance(error, LamsearchError):
        return shortened(" ".join(str(error).split()), LONGEST_MESSAGE)
    return f"{shortened(described(error), LONGEST_MESSAGE)} (--debug shows the traceback)"
