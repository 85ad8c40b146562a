"""The command line in a process that logs what it generates, and dies where it is told to.

    python driver.py LOG WRITE ARGUMENT…

Every call of the pipeline is a line of LOG: λ, then the image ids. Just before commit number WRITE
of the databases, from 1, the process is killed; 0 is never.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(log: str, write: int, arguments: Sequence[str]) -> int:
    """Run `lamsearch ARGUMENT…` and return its exit status."""
    from sqlalchemy import Engine, event

    from lamsearch.cli import main as command_line
    from lamsearch.evaluation.images import ImageEvaluation

    commits, score = itertools.count(1), ImageEvaluation.score

    @event.listens_for(Engine, "commit")
    def _(connection: Any) -> None:
        if next(commits) == write:
            os.kill(os.getpid(), signal.SIGKILL)

    def logged(self: ImageEvaluation, lam: float, image_ids: Sequence[int]) -> Any:
        line = json.dumps([os.getpid(), lam, [*image_ids]])
        with Path(log).open("a") as file:
            file.write(line + "\n")
        return score(self, lam, image_ids)

    ImageEvaluation.score = logged  # type: ignore[method-assign]
    try:
        return command_line(arguments)
    finally:
        Path(f"{log}.commits").write_text(str(next(commits) - 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
