"""Where runs are stored: a file per method and rule, with one JSON record per line.

A run's record has the problem (`KEY`), the budget, answers and regrets after 4, 5, … evaluations,
and processor seconds; our own methods add λs, coverage and stop. Lines with "command" and
"versions" say what wrote the records below them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias

INITIAL = 4
"""Number of evaluations before the first answer; the initial design has as many."""

Record: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str, float, int]
KEY = ("family", "noise", "stderr", "seed")
Records: TypeAlias = dict[Key, Record]
Cell: TypeAlias = tuple[str, float]
"""A kind of noise and a standard error."""

LIBRARIES = ("torch", "botorch", "gpytorch", "optuna", "numpy", "scipy")


class Runs(NamedTuple):
    """What is reported.

    Attributes:
        results: Records of the chosen problems, by method.
        cells: All chosen kinds of noise and standard errors.
        budget: Number of evaluations in a run.
        ours: Our methods that are compared with the peers.
    """

    results: dict[str, Records]
    cells: list[Cell]
    budget: int
    ours: list[str]


def path_of(folder: Path, method: str, rule: str) -> Path:
    return folder / f"{method}.{rule}.jsonl"


def lines(path: Path) -> Iterator[Record]:
    """Yield the lines of a file, without one that a killed run has left unfinished."""
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def load(path: Path, budget: int) -> Records:
    """Return the records of a file by problem."""
    found = (line for line in lines(path) if line.get("budget") == budget)
    return {tuple(record[name] for name in KEY): record for record in found}


def headers(path: Path) -> list[Record]:
    """Return the commands that wrote to the file, with the libraries' versions."""
    return [line for line in lines(path) if "command" in line]


def header(command: str, *more: str) -> Record:
    return {"command": command, "versions": {name: version(name) for name in (*LIBRARIES, *more)}}


def open_for(path: Path, command: str) -> TextIO:
    """Open a file to append to; a run first writes its command and the libraries' versions."""
    torn = path.is_file() and not path.read_text().endswith("\n")
    line = json.dumps(header(command, *["ax-platform"] * path.name.startswith("ax.")))
    file = path.open("a")
    file.write("\n" * torn + line + "\n")
    return file


def sources(found: list[Record]) -> dict[str, list[str]]:
    """Return what the headers say without repetition: the commands, and the versions by library."""
    pairs = [("command", line["command"]) for line in found]
    pairs += [pair for line in found for pair in line["versions"].items()]
    merged: dict[str, list[str]] = {}
    for name, value in dict.fromkeys(pairs):
        merged.setdefault(name, []).append(value)
    return merged
