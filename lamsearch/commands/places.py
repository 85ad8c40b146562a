"""Flags that several commands take: which study, where it is, where the answer goes."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_study(command: argparse.ArgumentParser) -> None:
    """Add the name of an existing study."""
    command.add_argument("study", metavar="STUDY", help="name of the study")


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the settings file."""
    command.add_argument(
        "--config", type=Path, metavar="FILE", help="settings file [./lamsearch.toml]"
    )


def add_storage(command: argparse.ArgumentParser, new_study: str | None = None) -> None:
    """Add where studies are.

    Args:
        command: Where to add the flags.
        new_study: For a command that may begin a study, the default of its name.
    """
    storage = command.add_argument_group("storage")
    storage.add_argument(
        "--storage",
        metavar="URL",
        help="URL of the database [$LAMSEARCH_STORAGE, else sqlite in lamsearch-studies]",
    )
    if new_study is not None:
        storage.add_argument("--study", metavar="NAME", help=f"name of the study [{new_study}]")


def add_output(
    command: argparse.ArgumentParser,
    *,
    json: bool = False,
    file: str | None = None,
    metavar: str = "FILE",
    required: bool = False,
) -> None:
    """Add where the answer goes.

    Args:
        command: Where to add the flags.
        json: Whether there is `--json`.
        file: What `-o` is, if it is there.
        metavar: How it is named.
        required: Whether it must be given.
    """
    output = command.add_argument_group("output")
    if json:
        output.add_argument("--json", action="store_true", help="print one JSON object")
    if file is not None:
        output.add_argument(
            "-o", "--output", type=Path, required=required, metavar=metavar, help=file
        )
    output.add_argument("--debug", action="store_true", help="show tracebacks and warnings")
