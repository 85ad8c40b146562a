"""The command line: parse and call; what the commands do is in `commands`."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from lamsearch.commands import COMMANDS
from lamsearch.outcome import USAGE, outcome, stopped
from lamsearch.plain_text import LONGEST_MESSAGE, shortened


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 is done, 2 wrong usage, 128 + n ended by signal n, also if nobody reads the output any more,
    and 1 anything else.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that does not know λ
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = vars(build_parser(given).parse_args(given))
    except KeyboardInterrupt:
        return stopped(given)
    return outcome(options.pop("command"), options, given=given, debug=options.pop("debug"))


class _Parser(argparse.ArgumentParser):
    """Prints one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        text = shortened(message, LONGEST_MESSAGE)
        self.exit(USAGE, f"lamsearch: error: {text}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Prints the version, which is looked up only now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import lamsearch

        sys.stdout.write(f"lamsearch {lamsearch.__version__}\n")
        parser.exit()


def build_parser(given: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of all commands, with the flags of the one that is given, or of all."""
    parser = _Parser(
        prog="lamsearch",
        description="Find the alignment strength β/λ* that a reward likes best, from one aligned "
        "model (DeRaDiff, arXiv 2601.20198).",
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print the version and exit",
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, (module, sentence) in COMMANDS.items():
        added = subparsers.add_parser(name, help=sentence)
        if given is None or name in given[:1]:  # a command's own imports take time
            command = importlib.import_module(f"lamsearch.commands.{module}")
            command.add_flags(added)
            added.set_defaults(command=command.run)
    return parser
