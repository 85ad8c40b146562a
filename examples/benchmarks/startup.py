"""Processor seconds of the commands until they do something: nearly all of it is imports.

    python -m examples.benchmarks.startup --repetitions 5 --output startup.json

Each command runs as a process of its own, and its user and system time are added. `run` is the
search of the bundled world with one image per batch: it is ended as soon as its first image has
been generated, scored and saved. The study that `show` and `plot` read is made first, with 4
evaluations of 4 images. Minimum and median over the repetitions, after one that is not counted.
Needs a Unix system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from examples.benchmarks.environment import environment, timing_arguments, timings

PROGRAM = (sys.executable, "-c", "import sys; from lamsearch.cli import main; sys.exit(main())")
"""What the installed script `lamsearch` does."""

STUDY = ("beta500-pickscore-seed0", "--storage", "sqlite:///studies.db")
SEARCH = ("run", "--anchor", "beta500", "--reward", "pickscore", "--device", "cpu")
FIRST_IMAGE = "run, to the first image"
POLL_SECONDS = 0.005
MESSAGES = "messages.txt"
"""File in a process's folder with what it wrote to standard error."""


class Command(NamedTuple):
    """A command line, and what it is expected to exit with."""

    arguments: Sequence[str]
    status: int = 0


COMMANDS = {
    "--help": Command(["--help"]),
    "--version": Command(["--version"]),
    "a usage error": Command(["show"], status=2),
    "run --help": Command(["run", "--help"]),
    "a usage error of run": Command(["run", "--anchor"], status=2),
    "show": Command(["show", *STUDY]),
    "plot": Command(["plot", *STUDY, "-o", "curve.png"]),
}
GOALS = {
    "--help": 0.3,
    "--version": 0.3,
    "a usage error": 0.3,
    "run --help": None,
    "a usage error of run": 0.3,
    "show": 3.0,
    "plot": None,
    FIRST_IMAGE: 7.0,
}
"""What each is allowed to take, where there is a goal."""


def start(arguments: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / MESSAGES).open("wb") as messages:
        return subprocess.Popen(
            [*PROGRAM, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=messages
        )


def seconds_of(process: subprocess.Popen[bytes]) -> float:
    """Wait for a process and return its processor seconds; set its return code."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def command_seconds(command: Command, folder: Path) -> float:
    process = start(command.arguments, folder)
    seconds = seconds_of(process)
    if process.returncode != command.status:
        messages = (folder / MESSAGES).read_text()
        raise SystemExit(f"{command.arguments} ended with {process.returncode}: {messages}")
    return seconds


def first_image_seconds(folder: Path) -> float:
    """Return the processor seconds of a search in an empty folder until its first image."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        options = ("--budget", "12", "--batch-size", "1", "--storage", "sqlite:///studies.db")
        process = start([*SEARCH, *options], Path(name))
        while not any(Path(name).rglob("*.png")):
            # Not `poll`, which would reap the process and with it the time that it used.
            if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                process.wait()
                messages = (Path(name) / MESSAGES).read_text()
                raise SystemExit(f"the search ended without an image: {messages}")
            time.sleep(POLL_SECONDS)
        process.kill()
        return seconds_of(process)


def measure(folder: Path) -> dict[str, float]:
    """Return the processor seconds of every command, once."""
    seconds = {name: command_seconds(command, folder) for name, command in COMMANDS.items()}
    return seconds | {FIRST_IMAGE: first_image_seconds(folder)}


def main(repetitions: int = 5, output: str | None = None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = ("--budget", "4", "--images", "4", "--storage", "sqlite:///studies.db")
        command_seconds(Command([*SEARCH, *small]), folder)
        measure(folder)
        rounds = [measure(folder) for _ in range(repetitions)]
    seconds = {name: [round(found[name], 3) for found in rounds] for name in GOALS}
    print(f"{environment()}, {repetitions} repetitions\n")
    print("| processor seconds | minimum | median | goal |\n|---|---|---|---|")
    for name, found in seconds.items():
        goal = "–" if GOALS[name] is None else f"{GOALS[name]:g}"
        print(f"| {name} | {min(found):.2f} | {median(found):.2f} | {goal} |")
    return timings("startup", seconds, repetitions=repetitions, output=output)


if __name__ == "__main__":
    main(**timing_arguments(__doc__, repetitions=5))
