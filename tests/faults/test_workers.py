"""Many workers on one study, some of which die or sleep: the budget is exact, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from faults.runs import STUDY, Place
from lamsearch.study.database import Study
from lamsearch.study.history import merged

WORKERS, BUDGET = 8, 10


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(f"sqlite:///{tmp_path}/studies.db", tmp_path / "log", BUDGET)
    return Place(request.getfixturevalue("postgres"), tmp_path / "log", BUDGET)


@pytest.mark.slow
def test_workers_that_die_and_sleep_share_one_study(place: Place) -> None:
    """Two are killed, one is stopped and wakes again; a last one finishes what is left."""
    generator = random.Random(0)
    workers = [place.warm() for _ in range(WORKERS)]
    while not place.log.exists():
        assert all(worker.is_alive() for worker in workers)
        time.sleep(0.01)
    killed, stopped = workers[:2], workers[2]
    for worker in killed:
        time.sleep(generator.uniform(0, 0.5))
        os.kill(worker.pid, signal.SIGKILL)
    os.kill(stopped.pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(stopped.pid, signal.SIGCONT)
    for worker in workers:
        worker.join(300)
    last = place.warm()
    last.join(300)
    assert [worker.exitcode for worker in (*workers[2:], last)] == [0] * (WORKERS - 1)

    study = Study.open(STUDY, place.url)
    history = study.history()
    assert len(history.finished) == len(history.evaluations) == BUDGET
    assert len({each.lam for each in history.finished}) == len(merged(history.finished)) == BUDGET
    assert not any(np.isnan(each.row[:4]).any() for each in history.finished)
    assert place.repeated() <= place.in_flight([worker.pid for worker in killed])
    assert not study.has_live_workers


@pytest.mark.slow
def test_scores_are_those_of_one_worker(place: Place, tmp_path: Path) -> None:
    """Whoever generated an image, it is the same image."""
    alone = Place(f"sqlite:///{tmp_path}/alone.db", tmp_path / "alone", 3)
    for started in ([alone.warm()], [place.warm() for _ in range(3)]):
        for worker in started:
            worker.join(300)
    rows = [
        {each.lam: each.row for each in Study.open(STUDY, where.url).history().finished}
        for where in (alone, place)
    ]
    common = rows[0].keys() & rows[1].keys()
    assert {0.0, 1.0} <= common
    for lam in common:
        np.testing.assert_array_equal(rows[0][lam], rows[1][lam])
