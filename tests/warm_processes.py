"""Processes that have imported the libraries already: forked from a server, they start at once.

For tests that need a process of their own, not a start of Python: importing diffusers takes as
long as ten tests.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "pytest",
        "lamsearch.image_search",
        "lamsearch.bayesopt.optuna_sampler",
        "lamsearch.report.table",
        "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
        "transformers.models.clip.modeling_clip",
    ]
)


def start(
    code: str, *arguments: object, output: str | os.PathLike[str] = os.devnull
) -> BaseProcess:
    """Start `python -c code argument…`, with all that it prints in a file."""
    given = (code, [str(each) for each in arguments], os.fspath(output))
    process = PROCESSES.Process(target=_python, args=given)
    process.start()
    return process


def run(code: str, *arguments: object) -> tuple[int | None, str]:
    """Run `python -c code argument…`, and return its exit status and what it printed."""
    with tempfile.NamedTemporaryFile() as output:
        process = start(code, *arguments, output=output.name)
        process.join()
        return process.exitcode, Path(output.name).read_text()


def silence(output: str = os.devnull) -> None:
    """Send what this process prints, and what is printed past Python, to a file."""
    with Path(output).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _python(code: str, arguments: list[str], output: str) -> None:
    silence(output)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
