"""A search that is killed, wherever, ends as one that was not; only the batch in flight is lost."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from faults.runs import STUDY, Place, assert_same_search
from lamsearch.study.database import Study

RANDOM_KILLS = 100
PARTS = 10
"""Of the long tests, so that several processes share them."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("whole")
    place = Place(f"sqlite:///{folder}/studies.db", folder / "log")
    process = place.warm()
    process.join()
    assert process.exitcode == 0
    return place


def fresh(folder: Path, name: str = "killed") -> Place:
    (folder / name).mkdir()
    return Place(f"sqlite:///{folder}/{name}/studies.db", folder / name / "log")


def finish(place: Place) -> None:
    process = place.warm()
    process.join()
    assert process.exitcode == 0


def assert_nothing_lost(place: Place, whole: Place, killed: list[int]) -> None:
    assert_same_search(place, whole)
    assert place.repeated() <= place.in_flight(killed)
    assert {call[1:] for call in place.calls()} == {call[1:] for call in whole.calls()}


@pytest.mark.slow
def test_a_search_killed_again_and_again_at_its_writes_ends_the_same(
    whole: Place, tmp_path: Path
) -> None:
    """Killed before its first write, then before the 4th of the next run, the 7th, …"""
    place, killed = fresh(tmp_path), []
    for write in range(1, 10 * whole.commits(), 3):
        process = place.warm(write)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed.append(process.pid)
    assert len(killed) > 5
    assert_nothing_lost(place, whole, killed)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_a_search_killed_at_any_write_ends_the_same(
    part: int, whole: Place, tmp_path: Path
) -> None:
    for write in range(1 + part, whole.commits() + 1, PARTS):
        place = fresh(tmp_path, str(write))
        process = place.cold(write)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        finish(place)
        assert_nothing_lost(place, whole, [process.pid])


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_a_search_killed_at_any_moment_ends_the_same(
    part: int, whole: Place, tmp_path: Path
) -> None:
    began = time.monotonic()
    fresh(tmp_path, "timed").cold().communicate()
    lasts = time.monotonic() - began
    generator = random.Random(part)
    for number in range(RANDOM_KILLS // PARTS):
        place = fresh(tmp_path, str(number))
        process = place.cold()
        time.sleep(generator.uniform(0, lasts))
        process.kill()
        process.communicate()
        finish(place)
        assert_nothing_lost(place, whole, [process.pid])


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_gives_the_leases_back_and_says_how_to_resume(
    sent: signal.Signals, whole: Place, tmp_path: Path
) -> None:
    place = fresh(tmp_path)
    process = place.cold()
    while process.poll() is None and not place.log.exists():
        time.sleep(0.01)
    process.send_signal(sent)
    printed, said = process.communicate()
    assert process.returncode == 128 + sent
    assert printed == ""
    assert said.splitlines()[-1].startswith("stopped; resume with: lamsearch run --anchor beta500")
    assert "Traceback" not in said
    assert not Study.open(STUDY, place.url).has_live_workers
    finish(place)
    assert_nothing_lost(place, whole, [process.pid])
