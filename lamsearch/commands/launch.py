"""`lamsearch launch`: print a job file that starts workers of one study; it submits nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from lamsearch.commands import run as run_command
from lamsearch.commands.printing import say
from lamsearch.errors import SettingsError


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes: the number of workers, and all that `run` takes."""
    target = command.add_argument_group("launch").add_mutually_exclusive_group(required=True)
    target.add_argument(
        "--slurm", type=int, metavar="N", help="print a Slurm job array of N workers"
    )
    target.add_argument(
        "--skypilot", type=int, metavar="N", help="print a SkyPilot task of N nodes, a worker each"
    )
    run_command.add_flags(command)
    command.set_defaults(parser=command)


def run(options: dict[str, Any]) -> None:
    """Print a job file."""
    from lamsearch.bayesopt.config import SearchConfig
    from lamsearch.evaluation.config import ConfirmationConfig, ImagesConfig
    from lamsearch.job_files import skypilot_task, slurm_script
    from lamsearch.study.storage import STORAGE_VARIABLE, chosen_storage
    from lamsearch.tracking.config import TrackingConfig

    parser, slurm, skypilot = (options.pop(name) for name in ("parser", "slurm", "skypilot"))
    workers = skypilot if slurm is None else slurm
    if workers < 1:
        raise SettingsError(f"{workers} workers given, expected at least 1")
    for config in (SearchConfig, ImagesConfig, ConfirmationConfig, TrackingConfig):
        config.select(options)
    storage = chosen_storage(options.pop("storage"))
    is_file = storage.startswith("sqlite")
    if is_file and (workers > 1 or skypilot is not None):
        raise SettingsError(
            f"workers on several machines cannot share an SQLite file, whose locks do not reach "
            f"over a network: set {STORAGE_VARIABLE} to the URL of a PostgreSQL database, or start "
            "a single worker with --slurm 1"
        )
    own = ["--storage", storage] if is_file else []
    arguments = ["lamsearch", "run", *_arguments(parser, options), *own]
    make = skypilot_task if slurm is None else slurm_script
    sys.stdout.write(make(arguments, workers, is_on_server=not is_file))
    submit = "sbatch FILE" if slurm is not None else f"sky launch --secret {STORAGE_VARIABLE} FILE"
    say(f"nothing was submitted: check the resources, and submit it with: {submit}")
    if not is_file:
        say(f"the URL of the database is in no file: set {STORAGE_VARIABLE} where you submit")


def _arguments(parser: argparse.ArgumentParser, options: dict[str, Any]) -> Iterator[str]:
    """Yield the arguments that give these options, apart from those of `launch` alone."""
    for action in parser._actions:
        value = options.get(action.dest)
        if value is None or value is False:
            continue
        flag = action.option_strings[-1]
        if action.nargs == 0:
            yield flag
        elif isinstance(action.nargs, int):
            yield from (flag, *map(str, value))
        else:
            # With "=", a value that starts with "-" is no flag.
            yield f"{flag}={','.join(value) if isinstance(value, list) else value}"
