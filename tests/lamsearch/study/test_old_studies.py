"""Studies that lamsearch 0.1 wrote, before its modules moved, are shown and resumed."""

from __future__ import annotations

import sqlite3
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import lamsearch
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study
from studies import finished

DATA = Path(__file__).parents[2] / "data"
EFFECTS = np.cos(np.arange(12.0))
UNINTERRUPTED = [0.0, 1.0, 0.294509, 0.648895, 0.535, 0.735, 0.466, 0.58]
"""λs of the same search by lamsearch 0.1, not killed."""


def evaluate(lam: float) -> np.ndarray:
    return -((lam - 0.6) ** 2) + 0.1 * EFFECTS * (1 + 0.2 * lam)


@pytest.fixture
def restored(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """URL of a database made from its stored SQL text."""
    file = tmp_path / "studies.db"
    with sqlite3.connect(file) as connection:
        connection.executescript((DATA / f"{request.param}-0.1.sql").read_text())
    connection.close()
    return f"sqlite:///{file}"


@pytest.mark.parametrize("restored", ["function"], indirect=True)
def test_a_killed_search_of_a_function_is_resumed_to_the_same_answer(restored: str) -> None:
    assert [e.lam for e in finished("function", restored)] == UNINTERRUPTED[:5]
    options = {"budget": 8, "seed": 3, "storage": restored, "study": "function"}
    result = lamsearch.search(evaluate, beta=500, **options)
    assert [e.lam for e in result.evaluations] == UNINTERRUPTED
    assert result.lam == 0.6004
    assert result.value == pytest.approx(-0.0038584752287494782, abs=1e-15)
    assert result.lam_interval == pytest.approx((0.575, 0.615), abs=1e-12)
    assert result.unfinished == 0


@pytest.mark.parametrize("restored", ["images"], indirect=True)
def test_a_search_of_images_is_shown_with_its_confirmation(restored: str) -> None:
    summary = summarize(Study.open("old", restored))
    assert [e.images for e in summary.evaluations] == [8, 8, 8]
    assert (summary.anchor, summary.reward, summary.beta) == ("beta500", "pickscore", 500)
    assert [tracked.name for tracked in summary.others] == ["clip"]
    assert summary.confirmation is not None
    assert summary.confirmation.images == 4


@pytest.mark.slow
@pytest.mark.parametrize("restored", ["images"], indirect=True)
def test_a_search_of_images_is_continued(
    restored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Study.open("old", restored).manifest["versions"]
    if written != {name: version(name) for name in written}:
        pytest.skip("a study is held to the versions of the libraries that it was started with")
    monkeypatch.chdir(tmp_path)
    options = {"images": 8, "also": ["clip"], "study": "old", "storage": restored}
    before = finished("old", restored)
    result = lamsearch.run("beta500", "pickscore", 4, **options)
    assert len(result.evaluations) == 4
    assert finished("old", restored)[:3] == before
