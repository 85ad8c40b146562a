"""`lamsearch init`: write a first lamsearch.toml from what is there."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lamsearch.commands.places import add_output
from lamsearch.commands.printing import say


def add_flags(command: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    command.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path(),
        metavar="FOLDER",
        help="where models and prompts are looked for [.]",
    )
    add_output(command, file="settings file to write [lamsearch.toml]")


def run(options: dict[str, Any]) -> None:
    """Write a first settings file."""
    from lamsearch.starting.first_settings import write_first_settings

    output = options["output"] or Path("lamsearch.toml")
    is_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    settings = write_first_settings(
        output,
        options["folder"],
        choose=_choose if is_terminal else _first,
        ask_beta=_ask_beta if is_terminal else _unknown,
    )
    say(f"wrote {output}: {_named('anchor', settings.anchors)}")
    if not settings.anchors:
        say("name an aligned model and its reference in it")
        return
    config = [] if output == Path("lamsearch.toml") else ["--config", str(output)]
    say(f"check it: {shlex.join(['lamsearch', 'doctor', *config])}")
    words = ["--anchor", next(iter(settings.anchors)), "--reward", next(iter(settings.rewards))]
    prompts = [] if settings.prompts is not None else ["--prompts", "FILE"]
    words += ["--budget", "12", *config, *prompts]
    say(f"search:   {shlex.join(['lamsearch', 'run', *words])}")


def _named(what: str, names: Any) -> str:
    return f"{what} {', '.join(names)}" if names else f"no {what} found"


def _first(locations: Sequence[str]) -> str:
    say(f"took {locations[0]} for the reference, the first of {len(locations)}")
    return locations[0]


def _unknown(location: str) -> None:
    say(f"β of {location} is not known: write it into the file")


def _choose(locations: Sequence[str]) -> str:
    """Ask which pipeline is the reference."""
    for number, location in enumerate(locations, start=1):
        say(f"{number}: {location}")
    while True:
        answer = _asked(f"which one is the reference? [1 to {len(locations)}] ") or "1"
        if answer.isdecimal() and 1 <= int(answer) <= len(locations):
            return locations[int(answer) - 1]


def _ask_beta(location: str) -> float | None:
    """Ask for β."""
    while True:
        answer = _asked(f"β that {location} was aligned at? [unknown] ")
        try:
            beta = float(answer) if answer else None
        except ValueError:
            continue
        if beta is None or 0 < beta < float("inf"):
            return beta


def _asked(question: str) -> str:
    """Return an answer from the terminal; empty where it ends."""
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip()
