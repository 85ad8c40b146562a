"""`lamsearch export-study`: write a study into a file, to keep or to move."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from lamsearch.commands.places import add_output, add_storage, add_study
from lamsearch.commands.printing import say
from lamsearch.commands.studies import open_study


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    add_study(command)
    add_storage(command)
    add_output(command, file="a file of JSON lines", required=True)


def run(options: dict[str, Any]) -> None:
    """Write a study into a file."""
    from lamsearch.study.transfer import export_study, write_lines

    study, output = open_study(options), options["output"]
    written = write_lines(export_study(study), output)
    say(f"wrote {output}: {written} lines; lamsearch import {shlex.quote(str(output))} reads it")
