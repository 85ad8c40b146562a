"""`lamsearch import`: put the studies of a file into a storage."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output, add_storage
from lamsearch.commands.printing import say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    help_ = "a file that export-study wrote, or a journal that a fault left"
    command.add_argument("file", type=Path, metavar="FILE", help=help_)
    add_storage(command)
    add_output(command)


def run(options: dict[str, Any]) -> None:
    """Put the studies of a file into a storage."""
    import optuna

    from lamsearch.study.storage import chosen_storage
    from lamsearch.study.transfer import import_studies

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = import_studies(options["file"], chosen_storage(options["storage"]))
    say(f"imported {', '.join(names)}")
