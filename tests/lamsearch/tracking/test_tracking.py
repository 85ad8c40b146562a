"""`--track`: real trackers, offline, that see what the study holds and can stop nothing."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LoggerType, TensorBoardTracker

import lamsearch
from lamsearch import cli
from lamsearch.errors import SettingsError
from lamsearch.keywords import RunKeywords
from lamsearch.tracking.config import TRACKERS, TrackingConfig
from lamsearch.tracking.values import evaluation_values
from studies import finished

Run = Callable[..., lamsearch.Summary]


@pytest.fixture
def run(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def search(**keywords: Any) -> lamsearch.Summary:
        given = {"budget": 3, "images": 4, "config": world / "lamsearch.toml", "study": "s"}
        return lamsearch.run("b500", "pickscore", **{**given, **keywords})

    return search


def tensorboard(folder: Path) -> Any:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(folder))
    found.Reload()
    return found


def points(found: Any, tag: str) -> dict[int, float]:
    return {event.step: event.value for event in found.Scalars(tag)}


def test_the_names_are_those_of_accelerate() -> None:
    assert set(TRACKERS) == {str(each) for each in LoggerType} - {"all"}


def test_the_keyword_is_the_field() -> None:
    assert TrackingConfig.model_fields.keys() <= RunKeywords.__annotations__.keys()


def test_tensorboard_has_every_evaluation_and_the_answer(run: Run) -> None:
    pytest.importorskip("tensorboard")
    summary = run(track=["tensorboard"], also=["clip"], confirm=2)
    found = tensorboard(Path("lamsearch-studies/tensorboard/s"))
    evaluations = finished("s", "sqlite:///lamsearch-studies/studies.db")
    assert len(evaluations) == 3
    for tag, values in {
        "lam": {e.number: e.lam for e in evaluations},
        "value": {e.number: sum(e.scores.values()) / len(e.scores) for e in evaluations},
        "effective_beta": {e.number: 500 / e.lam for e in evaluations if e.lam},
        "seconds": {e.number: e.seconds for e in evaluations},
    }.items():
        assert points(found, tag) == pytest.approx(values, rel=1e-6), tag
    assert points(found, "others/clip").keys() == {0, 1, 2}
    assert points(found, "stderr").keys() == {0, 1, 2}
    assert points(found, "answer/lam") == pytest.approx({3: summary.lam}, rel=1e-6)
    assert [event.step for event in found.Images("strip")] == [0, 1, 2]
    assert len(points(found, "confirmation/value")) >= 2
    assert "answer/text/text_summary" in found.Tags()["tensors"]


def test_a_resumed_search_has_the_earlier_evaluations_in_its_run_too(run: Run) -> None:
    pytest.importorskip("tensorboard")
    run(budget=2)
    assert not Path("lamsearch-studies/tensorboard").exists()
    run(track=["tensorboard"])
    found = tensorboard(Path("lamsearch-studies/tensorboard/s"))
    assert points(found, "lam").keys() == {0, 1, 2}


def test_a_tracker_that_fails_is_left_out_with_one_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    untracked = run(study="untracked")

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(TensorBoardTracker, "log", full)
    with caplog.at_level(logging.WARNING, logger="lamsearch"):
        summary = run(track=["tensorboard"])
    assert summary.lam == untracked.lam
    (record,) = (each for each in caplog.records if each.name == "lamsearch")
    expected = "track tensorboard failed, and the search goes on: OSError: No space left on device"
    assert record.getMessage() == f"warning: {expected}"


def test_a_tracker_that_cannot_start_stops_nothing(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    Path("lamsearch-studies").mkdir()
    Path("lamsearch-studies/tensorboard").touch()  # where its folder would go
    assert run(track=["tensorboard"]).evaluations
    (record,) = (each for each in caplog.records if each.name == "lamsearch")
    assert "FileExistsError" in record.getMessage()


def test_names_that_are_no_trackers_are_one_line(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError, match=r"expected one of aim, .*did you mean 'tensorboard'"):
        run(track=["tensorbord"])
    with pytest.raises(SettingsError, match="expected a list of names"):
        run(track="tensorboard")
    given = [
        "run",
        "--anchor",
        "beta500",
        "--reward",
        "clip",
        "--budget",
        "1",
        "--track",
        "neptune",
    ]
    assert cli.main(given) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: track 'neptune' given")


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_created(run: Run) -> None:
    from accelerate.tracking import get_available_trackers

    absent = [name for name in TRACKERS if name not in map(str, get_available_trackers())]
    if not absent:
        pytest.skip("every tracker is installed")
    with pytest.raises(SettingsError, match="not installed: pip install"):
        run(track=absent[:1])
    assert list(Path().iterdir()) == []


def test_standard_output_stays_the_answer_alone(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    given = ["--anchor", "b500", "--reward", "pickscore", "--budget", "2", "--images", "2"]
    config = ["--config", str(world / "lamsearch.toml")]
    assert cli.main(["run", *given, *config, "--track", "tensorboard", "--json"]) == 0
    assert "lam" in json.loads(capfd.readouterr().out)


def test_trackio_has_every_evaluation_and_its_strip(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read on import
    utils = pytest.importorskip("trackio.utils")
    storage = pytest.importorskip("trackio.sqlite_storage")
    monkeypatch.setattr(utils, "TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setattr(storage, "TRACKIO_DIR", tmp_path / "trackio")
    summary = run(track=["trackio"])
    rows = storage.SQLiteStorage.get_logs("lamsearch", "s")
    by_step = {row["step"]: row for row in rows if "lam" in row}
    for evaluation in summary.evaluations:
        row = by_step[evaluation.number]
        assert row["lam"] == pytest.approx(evaluation.lam)
        assert row["value"] == pytest.approx(evaluation.value)
    assert sum("strip" in row for row in rows) == 3
    assert any(row.get("answer/lam") == pytest.approx(summary.lam) for row in rows)


def test_figures_that_are_infinite_or_unknown_are_left_out(run: Run) -> None:
    run(budget=2)
    first = min(finished("s", "sqlite:///lamsearch-studies/studies.db"), key=lambda e: e.lam)
    assert first.lam == 0
    assert "effective_beta" not in evaluation_values(first, 500)
    assert all(map(math.isfinite, evaluation_values(first, None).values()))
