"""Searches of the bundled world in processes of their own, which are killed and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from faults import driver
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study
from warm_processes import PROCESSES, silence

BATCH = 2
STUDY = "s"


@dataclass(frozen=True)
class Place:
    """Where a search of 4 evaluations of 4 images lies, in batches of 2.

    Attributes:
        url: Its database.
        log: File with the calls of the pipeline.
        budget: Its number of evaluations.
    """

    url: str
    log: Path
    budget: int = 4

    def arguments(self) -> list[str]:
        """Return the arguments of the command line."""
        search = ["run", "--anchor", "beta500", "--reward", "pickscore", "--also", "clip"]
        size = ["--budget", str(self.budget), "--images", "4", "--batch-size", str(BATCH)]
        return [*search, *size, "--device", "cpu", "--study", STUDY, "--storage", self.url]

    def warm(self, write: int = 0) -> BaseProcess:
        """Start the search in a process that has imported everything already."""
        process = PROCESSES.Process(target=_quietly, args=(str(self.log), write, self.arguments()))
        process.start()
        return process

    def cold(self, write: int = 0) -> subprocess.Popen[str]:
        """Start the search as a user does, in a process that imports everything."""
        return subprocess.Popen(
            [sys.executable, driver.__file__, str(self.log), str(write), *self.arguments()],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def commits(self) -> int:
        """Return how often the last process that ended by itself has committed."""
        return int(Path(f"{self.log}.commits").read_text())

    def calls(self) -> list[tuple[int, float, tuple[int, ...]]]:
        """Return the calls of the pipeline: process, λ and image ids, in order."""
        lines = map(json.loads, self.log.read_text().splitlines())
        return [(process, lam, tuple(ids)) for process, lam, ids in lines]

    def repeated(self) -> Counter[tuple[float, tuple[int, ...]]]:
        """Return the calls that were made more than once, and how often too many."""
        counts = Counter((lam, ids) for _, lam, ids in self.calls())
        return Counter({call: count - 1 for call, count in counts.items() if count > 1})

    def in_flight(self, processes: Sequence[int]) -> Counter[tuple[float, tuple[int, ...]]]:
        """Return the last call of each of these processes."""
        last = {process: (lam, ids) for process, lam, ids in self.calls() if process in processes}
        return Counter(last.values())


def _quietly(log: str, write: int, arguments: Sequence[str]) -> None:
    silence()
    sys.exit(driver.main(log, write, arguments))


def assert_same_search(one: Place, other: Place) -> None:
    """Compare λs, every score and the answer, to the last digit."""
    studies = [Study.open(STUDY, place.url) for place in (one, other)]
    for a, b in zip(*(study.history().evaluations for study in studies), strict=True):
        assert (a.number, a.lam, a.state, a.images) == (b.number, b.lam, b.state, b.images)
        np.testing.assert_array_equal(a.row, b.row)
        np.testing.assert_array_equal(a.tracked_row("clip"), b.tracked_row("clip"))
    answers = [summarize(study).to_json() for study in studies]
    for answer in answers:
        answer.update(seconds=0, storage="")
    assert answers[0] == answers[1]
