"""The program: the command line in a process of its own, from its first moment to its last."""

from __future__ import annotations

import sys

_INTERRUPTED, _UNREAD = 130, 141
"""Exit statuses of a process that Ctrl-C ended, and of one whose output nobody reads (SIGPIPE)."""

_UNWRITTEN = 1


def main() -> int | str | None:
    """Run the command line of this process and return its exit status."""
    try:
        return _main()
    except KeyboardInterrupt:  # while modules were still imported
        sys.stderr.write("stopped\n")
        return _INTERRUPTED


def _main() -> int | str | None:
    from lamsearch.standard_streams import end_output, open_what_is_closed

    open_what_is_closed()
    from lamsearch.cli import main as command_line

    status: int | str | None
    try:
        status = command_line()
    except SystemExit as exit_:  # --help, --version, wrong usage
        status = exit_.code
    except BrokenPipeError:
        status = _UNREAD
    try:
        end_output()
    except BrokenPipeError:
        return status or _UNREAD
    except OSError as error:
        sys.stderr.write(f"error: standard output cannot be written: {error.strerror}\n")
        return status or _UNWRITTEN
    return status


if __name__ == "__main__":
    sys.exit(main())
