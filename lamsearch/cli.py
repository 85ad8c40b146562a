"""The command line: parse and call; what the commands do is in `commands`."""

from __future__ import annotations

import argparse
import io
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lamsearch import commands
from lamsearch.commands import say
from lamsearch.errors import LamsearchError, SettingsError, first_line

_DONE, _FAILED, _USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 2 wrong usage, 1 anything else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that does not know λ
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = vars(_parser(given).parse_args(given))
    command, debug = options.pop("command"), options.pop("debug")
    if not debug:
        from lamsearch.process import silence_library_warnings

        silence_library_warnings()
    try:
        command(options)
    except KeyboardInterrupt:
        say(f"stopped; resume with: lamsearch {shlex.join(given)}")
        return _FAILED
    except Exception as error:
        if debug:
            raise
        say(f"error: {_one_line(error)}")
        return _USAGE if isinstance(error, SettingsError) else _FAILED
    return _DONE


class _Parser(argparse.ArgumentParser):
    """Prints one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"lamsearch: error: {message}; see {self.prog} --help\n")


class _Version(argparse.Action):
    """Prints the version, which is looked up only now."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import lamsearch

        sys.stdout.write(f"lamsearch {lamsearch.__version__}\n")
        parser.exit()


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
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
    for name, command, help_ in (
        ("run", commands.run, "search λ, or resume a search"),
        ("agree", commands.agree, "measure how far β/λ can be trusted, by a family of anchors"),
        ("show", commands.show, "print the answer of a study"),
        ("plot", commands.plot, "draw the curve and the images of a study"),
        ("list", commands.list_, "list the studies of a storage"),
    ):
        added = subparsers.add_parser(name, help=help_)
        added.set_defaults(command=command)
        if name == "run" and given[:1] == ["run"]:  # the fields' classes take time to import
            _add_run_flags(added)
        if name == "agree" and given[:1] == ["agree"]:
            _add_agree_flags(added)
        if name in ("show", "plot"):
            added.add_argument("study", metavar="STUDY", help="name of the study")
        _add_places(added, name)
    return parser


def _add_places(command: argparse.ArgumentParser, name: str) -> None:
    """Add where studies are, and where the answer goes."""
    storage = command.add_argument_group("storage")
    storage.add_argument(
        "--storage", metavar="URL", help="URL of the database [sqlite, in lamsearch-studies]"
    )
    default = {"run": "ANCHOR-REWARD-seedS", "agree": "agreement-seedS"}.get(name)
    if default is not None:
        storage.add_argument("--study", metavar="NAME", help=f"name of the study [{default}]")
    output = command.add_argument_group("output")
    if name == "plot":
        help_ = "a .png, .svg or .pdf"
        output.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_)
    else:
        output.add_argument("--json", action="store_true", help="print one JSON object")
    if name == "agree":
        help_ = "write figures and tables there"
        output.add_argument("-o", "--output", type=Path, metavar="FOLDER", help=help_)
    output.add_argument("--debug", action="store_true", help="show tracebacks and warnings")


def _add_run_flags(run: argparse.ArgumentParser) -> None:
    from lamsearch.bayesopt.config import SearchConfig
    from lamsearch.evaluation.config import ConfirmationConfig, ImagesConfig
    from lamsearch.flags import add_flags

    run.add_argument("--anchor", required=True, metavar="NAME", help="anchor in the settings")
    run.add_argument(
        "--reward", required=True, metavar="NAME", help='a reward, or a sum: "pickscore + 0.3*clip"'
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="settings file [./lamsearch.toml]")
    add_flags(run, (SearchConfig, ImagesConfig, ConfirmationConfig), required=("budget",))


def _add_agree_flags(agree: argparse.ArgumentParser) -> None:
    from lamsearch.agreement.config import AgreementConfig
    from lamsearch.flags import add_flags, names

    agree.add_argument(
        "--anchor",
        required=True,
        action="append",
        metavar="NAME",
        help="anchor in the settings; once for each anchor of the family",
    )
    agree.add_argument(
        "--reward",
        required=True,
        type=names,
        metavar="NAMES",
        help="rewards, such as pickscore,hps",
    )
    agree.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file [./lamsearch.toml]"
    )
    add_flags(agree, (AgreementConfig,))


def _one_line(error: Exception) -> str:
    if isinstance(error, LamsearchError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {first_line(error)} (--debug shows the traceback)"
