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

from rich.console import Console

from lamsearch.errors import LamsearchError, SettingsError, first_line

if TYPE_CHECKING:
    from lamsearch.report.summary import Summary

_DONE, _FAILED, _USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 done, 2 wrong usage, 1 anything else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that does not know λ
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    messages = Console(stderr=True, highlight=False)
    try:
        options.command(options, messages)
    except KeyboardInterrupt:
        _say(messages, f"stopped; go on with: lamsearch {shlex.join(given)}")
        return _FAILED
    except Exception as error:
        if options.debug:
            raise
        _say(messages, f"error: {_one_line(error)}")
        return _USAGE if isinstance(error, SettingsError) else _FAILED
    return _DONE


class _Parser(argparse.ArgumentParser):
    """Prints one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"lamsearch: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lamsearch",
        description="Find the alignment strength β/λ* that a reward likes best, from one aligned "
        "model (DeRaDiff, arXiv 2601.20198).",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    run = commands.add_parser("run", help="search λ, or go on with a search")
    run.add_argument("--anchor", required=True, metavar="NAME", help="anchor in the settings")
    run.add_argument(
        "--reward", required=True, metavar="NAME", help='or a sum, "pickscore + 0.3*clip"'
    )
    run.add_argument(
        "--budget",
        required=True,
        type=int,
        metavar="N",
        help="evaluations; with --images auto, images",
    )
    run.add_argument("--config", type=Path, metavar="FILE", help="settings [./lamsearch.toml]")
    run.add_argument("--study", metavar="NAME", help="[ANCHOR-REWARD-seedS]")
    run.add_argument(
        "--images",
        type=_images,
        default=64,
        metavar="N|auto",
        help="an evaluation, or auto: new λs or more images, as the search sees fit [64]",
    )
    run.add_argument(
        "--plan",
        default="fixed",
        choices=("fixed", "rotating"),
        help="whether all λs see the same images, or other parts of a larger set [fixed]",
    )
    run.add_argument("--prompts", type=Path, metavar="FILE", help=".txt, .jsonl or .csv")
    run.add_argument(
        "--bounds", type=float, nargs=2, default=(0.0, 1.0), metavar=("LO", "HI"), help="of λ [0 1]"
    )
    run.add_argument("--seed", type=int, default=0, metavar="S", help="of plan and design [0]")
    run.add_argument("--batch-size", type=int, default=64, metavar="N", help="images at once [64]")
    run.add_argument("--device", metavar="D", help="[cuda, mps or cpu, the first there is]")
    _add_strategy(run)
    _add_guards(run)
    run.set_defaults(command=_run)
    show = commands.add_parser("show", help="print the answer of a study")
    show.set_defaults(command=_show)
    plot = commands.add_parser("plot", help="draw the curve and the images of a study")
    plot.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".png, .svg")
    plot.set_defaults(command=_plot)
    for command in (show, plot):
        command.add_argument("study", metavar="STUDY")
    for command in (run, show):
        command.add_argument("--json", action="store_true", help="print one JSON object")
    for command in (run, show, plot):
        command.add_argument(
            "--storage", metavar="URL", help="of the database [sqlite, in lamsearch-studies]"
        )
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_strategy(run: argparse.ArgumentParser) -> None:
    """Add how λ is searched and answered, and when it is enough."""
    run.add_argument(
        "--acquisition", default="auto", choices=("auto", "ei", "ucb", "kg"), help="[auto]"
    )
    run.add_argument(
        "--kernel",
        default="auto",
        choices=("auto", "matern", "rbf"),
        help="of the surrogate; auto: rbf for the paper's Algorithm 2, else matern [auto]",
    )
    run.add_argument(
        "--recommend",
        default="posterior",
        choices=("posterior", "observed"),
        help="answer by the posterior mean, or by the best evaluation as the paper [posterior]",
    )
    run.add_argument(
        "--noise",
        default="paired",
        choices=("paired", "homoscedastic"),
        help="from paired images, or one unknown variance as in the paper [paired]",
    )
    run.add_argument(
        "--epsilon",
        metavar="E",
        help="stop once λ* is within E of the best, in units of the reward or 5%% of its range",
    )


def _add_guards(run: argparse.ArgumentParser) -> None:
    """Add what speaks for or against the answer: other rewards, a constraint, held-out images."""
    run.add_argument("--also", type=_names, default=(), metavar="NAMES", help="record clip,hps too")
    run.add_argument(
        "--constraint", metavar="TEXT", help='on another reward, "clip >= -1%% of reference"'
    )
    run.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="P",
        help="of the constraint and of --epsilon [0.95]",
    )
    run.add_argument(
        "--confirm", type=int, default=0, metavar="N", help="held-out images at 0, 1 and λ* [0]"
    )
    run.add_argument(
        "--confirm-prompts", type=Path, metavar="FILE", help="[held-out prompts of the settings]"
    )


def _images(text: str) -> int | str:
    if text != "auto" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} given, expected a number, or auto")
    return text if text == "auto" else int(text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _run(options: argparse.Namespace, messages: Console) -> None:
    from lamsearch.api import run
    from lamsearch.config.settings import find_settings, load_settings
    from lamsearch.report.progress import SearchProgress

    settings = load_settings(find_settings(options.config))
    anchor = settings.anchor(options.anchor)
    _say(messages, f"settings {settings.path}")
    if settings.description:
        _say(messages, settings.description)
    _say(messages, f"anchor   {anchor.name}: β = {anchor.beta:g}, {anchor.aligned}")
    _quiet_libraries()
    images, budget = options.images, options.budget
    total = budget if images == "auto" else images * budget
    with SearchProgress(messages, images=total) as progress:
        summary = run(
            options.anchor,
            options.reward,
            options.budget,
            config=settings.path,
            study=options.study,
            storage=options.storage,
            images=options.images,
            prompts=options.prompts,
            bounds=tuple(options.bounds),
            plan=options.plan,
            acquisition=options.acquisition,
            epsilon=options.epsilon,
            recommend=options.recommend,
            noise=options.noise,
            kernel=options.kernel,
            seed=options.seed,
            batch_size=options.batch_size,
            device=options.device,
            progress=progress,
            also=options.also,
            constraint=options.constraint,
            confidence=options.confidence,
            confirm=options.confirm,
            confirm_prompts=options.confirm_prompts,
        )
    _print(summary, as_json=options.json)
    made = sum(evaluation.images for evaluation in summary.evaluations)
    sure = summary.within.probability >= options.confidence
    if options.epsilon is not None and sure and made < total:
        done = f"{made} of {total} images at {len(summary.evaluations)} λs"
        _say(messages, f"stopped after {done}: enough for --epsilon {options.epsilon}")
    if options.confirm and summary.confirmation is None:
        later = "the last worker to finish confirms, or run this again"
        _say(messages, f"not confirmed yet, evaluations are under way: {later}")
    where = ["--storage", options.storage] if options.storage else []
    plot = ["lamsearch", "plot", summary.study, *where, "-o", "curve.png"]
    _say(messages, f"plot it: {shlex.join(plot)}")


def _show(options: argparse.Namespace, messages: Console) -> None:
    _print(_stored(options), as_json=options.json)


def _plot(options: argparse.Namespace, messages: Console) -> None:
    from lamsearch.api import DEFAULT_STORAGE
    from lamsearch.report.figure import FORMATS, draw
    from lamsearch.study.gallery import Gallery

    if options.output.suffix.lower() not in FORMATS:
        raise SettingsError(f"cannot write {options.output}: expected one of {', '.join(FORMATS)}")
    summary = _stored(options)
    gallery = Gallery(options.study, options.storage or DEFAULT_STORAGE)
    kept = {evaluation.lam: gallery.at(evaluation.lam) for evaluation in summary.evaluations}
    try:
        draw(summary, {lam: files for lam, files in kept.items() if any(files)}, options.output)
    except OSError as error:
        raise SettingsError(f"cannot write {options.output}: {error}") from error
    _say(messages, f"wrote {options.output}")


def _stored(options: argparse.Namespace) -> Summary:
    from lamsearch.api import DEFAULT_STORAGE
    from lamsearch.report.summary import summarize
    from lamsearch.study.database import Study

    return summarize(Study(options.study, options.storage or DEFAULT_STORAGE))


def _print(summary: Summary, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(summary.to_json(), allow_nan=False) + "\n")
        return
    from lamsearch.report.table import summary_table

    Console(highlight=False, markup=False).print(summary_table(summary))


def _one_line(error: Exception) -> str:
    if isinstance(error, LamsearchError):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {first_line(error)} (--debug shows the traceback)"


def _say(messages: Console, text: str) -> None:
    messages.print(text, markup=False, soft_wrap=True)


def _quiet_libraries() -> None:
    """Silence what would draw over the progress bar."""
    import diffusers
    import optuna
    import transformers

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    library: Any
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
