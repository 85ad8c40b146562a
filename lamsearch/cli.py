"""The command line: parse, call, print."""

from __future__ import annotations

import argparse
import io
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lamsearch.errors import LamsearchError, SettingsError, first_line

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary

_DONE, _FAILED, _USAGE = 0, 1, 2
_FIGURES = (".png", ".svg", ".pdf")


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
        _say(f"stopped; resume with: lamsearch {shlex.join(given)}")
        return _FAILED
    except Exception as error:
        if debug:
            raise
        _say(f"error: {_one_line(error)}")
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    for name, command, help_ in (
        ("run", _run, "search λ, or resume a search"),
        ("show", _show, "print the answer of a study"),
        ("plot", _plot, "draw the curve and the images of a study"),
        ("list", _list, "list the studies of a storage"),
    ):
        added = commands.add_parser(name, help=help_)
        added.set_defaults(command=command)
        if name == "run" and given[:1] == ["run"]:  # the fields' classes take time to import
            _add_run_flags(added)
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
    if name == "run":
        help_ = "name of the study [ANCHOR-REWARD-seedS]"
        storage.add_argument("--study", metavar="NAME", help=help_)
    output = command.add_argument_group("output")
    if name == "plot":
        help_ = "a .png, .svg or .pdf"
        output.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=help_)
    else:
        output.add_argument("--json", action="store_true", help="print one JSON object")
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


def _run(options: dict[str, Any]) -> None:
    from rich.console import Console

    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.process import quick_imports, quiet_libraries, spin_less
    from lamsearch.report.progress import SearchProgress

    as_json = options.pop("json")
    settings = load_settings(find_settings(options["config"]))
    anchor = settings.anchor(options["anchor"])
    _say(f"settings {settings.path}")
    if settings.description:
        _say(settings.description)
    strength = "no β" if anchor.beta is None else f"β = {anchor.beta:g}"
    _say(f"anchor   {anchor.name}: {strength}, {anchor.aligned}")
    spin_less(Path(anchor.reference), options.get("device"))
    with quick_imports():
        from lamsearch.evaluation.config import AUTO, ImagesConfig
        from lamsearch.image_search import run

        quiet_libraries()
    images, budget = options.get("images", ImagesConfig().images), options["budget"]
    total = budget if images == AUTO else images * budget
    with SearchProgress(Console(stderr=True, highlight=False), images=total) as progress:
        summary = run(**{**options, "config": settings.path, "progress": progress})
    _print(summary, as_json=as_json)
    where = ["--storage", options["storage"]] if options["storage"] else []
    plot = ["lamsearch", "plot", summary.study, *where, "-o", "curve.png"]
    _say(f"plot it: {shlex.join(plot)}")


def _show(options: dict[str, Any]) -> None:
    _print(_stored(options), as_json=options["json"])


def _plot(options: dict[str, Any]) -> None:
    output: Path = options["output"]
    if output.suffix.lower() not in _FIGURES:
        raise SettingsError(f"cannot write {output}: expected one of {', '.join(_FIGURES)}")
    summary = _stored(options)
    from lamsearch.report.figure import draw
    from lamsearch.study.gallery import Gallery
    from lamsearch.study.storage import DEFAULT_STORAGE

    gallery = Gallery(options["study"], options["storage"] or DEFAULT_STORAGE)
    kept = {evaluation.lam: gallery.at(evaluation.lam) for evaluation in summary.evaluations}
    try:
        draw(summary, {lam: files for lam, files in kept.items() if any(files)}, output)
    except OSError as error:
        raise SettingsError(f"cannot write {output}: {error}") from error
    _say(f"wrote {output}")


def _list(options: dict[str, Any]) -> None:
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.report.listing import list_studies, listing_table
        from lamsearch.study.storage import DEFAULT_STORAGE

    rows = list_studies(options["storage"] or DEFAULT_STORAGE)
    if options["json"]:
        sys.stdout.write(json.dumps({"studies": [row.to_json() for row in rows]}) + "\n")
    else:
        _print_table(listing_table(rows))


def _stored(options: dict[str, Any]) -> Summary:
    from lamsearch.process import quick_imports, spin_less

    spin_less()
    with quick_imports():
        from lamsearch.report.summarize import summarize
        from lamsearch.study.database import Study
        from lamsearch.study.storage import DEFAULT_STORAGE

    return summarize(Study.open(options["study"], options["storage"] or DEFAULT_STORAGE))


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary.to_json(), allow_nan=False) + "\n")
        return
    from lamsearch.report.table import summary_table

    _print_table(summary_table(summary))


def _print_table(table: Any) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False).print(table)


def _one_line(error: Exception) -> str:
    if isinstance(error, LamsearchError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {first_line(error)} (--debug shows the traceback)"


def _say(text: str) -> None:
    """Write a message to standard error."""
    sys.stderr.write(text + "\n")
