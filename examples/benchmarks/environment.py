"""What timings depend on, to print and to store beside them."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "diffusers", "transformers", "botorch", "optuna")


def environment() -> str:
    """Return the versions of Python and of the heavy libraries, and the number of cores."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return f"python {platform.python_version()}, {libraries}, {os.cpu_count()} cores"


def timings(name: str, seconds: Any, *, repetitions: int, output: str | None) -> dict[str, Any]:
    """Return measured seconds with the command and the environment; write them if asked to.

    Args:
        name: The benchmark's.
        seconds: What was measured, as JSON.
        repetitions: How often each case ran.
        output: File to write to.
    """
    command = f"python -m examples.benchmarks.{name} --repetitions {repetitions}"
    result = {"command": command, "environment": environment(), "seconds": seconds}
    if output is not None:
        Path(output).write_text(json.dumps(result, indent=1) + "\n")
    return result


def timing_arguments(description: str, repetitions: int) -> dict[str, Any]:
    """Parse a timing script's command line: how often each case runs, and where to write to."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=repetitions)
    parser.add_argument("--output")
    return vars(parser.parse_args())
