"""The real optuna-dashboard on a stored study, called through its WSGI application."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from PIL import Image

import lamsearch
from lamsearch import cli

pytest.importorskip("optuna_dashboard")

from lamsearch.dashboard.shown_storage import ShownStorage, application

Get = Callable[[str], tuple[str, bytes]]


@pytest.fixture(scope="session")
def stored(world: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a storage with a search, its confirmation, and a study of another program."""
    folder = tmp_path_factory.mktemp("dashboard")
    url = f"sqlite:///{folder}/studies.db"
    lamsearch.run(
        "b500",
        "pickscore",
        budget=3,
        images=4,
        constraint="clip >= reference",
        confirm=2,
        config=world / "lamsearch.toml",
        study="s",
        storage=url,
    )
    other = optuna.create_study(study_name="other", storage=url, direction="minimize")
    other.add_trial(optuna.trial.create_trial(value=1.0))
    return url


@pytest.fixture
def call(stored: str) -> Callable[..., tuple[str, bytes]]:
    app = application(stored)

    def called(path: str, method: str = "GET", body: bytes = b"") -> tuple[str, bytes]:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {"REQUEST_METHOD": method, "PATH_INFO": path}
        environ |= {"QUERY_STRING": query, "wsgi.input": io.BytesIO(body)}
        environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(body))}
        setup_testing_defaults(environ)
        status: list[str] = []
        parts = app(environ, lambda line, *headers: status.append(line))
        content = b"".join(parts)
        if hasattr(parts, "close"):
            parts.close()
        return status[0], content

    return called


def detail(call: Get, name: str = "s") -> dict[str, Any]:
    summaries = json.loads(call("/api/studies")[1])["study_summaries"]
    (study_id,) = (each["study_id"] for each in summaries if each["study_name"] == name)
    found: dict[str, Any] = json.loads(call(f"/api/studies/{study_id}?after=0")[1])
    return {**found, "id": study_id}


def test_no_page_and_no_call_fails(call: Get) -> None:
    ids = [each["study_id"] for each in json.loads(call("/api/studies")[1])["study_summaries"]]
    assert len(ids) >= 3
    pages = ["/dashboard", "/api/meta", "/api/studies"]
    for i in ids:
        pages += [f"/dashboard/studies/{i}", f"/dashboard/studies/{i}/trials"]
        pages += [f"/api/studies/{i}", f"/api/studies/{i}?after=1", f"/csv/{i}"]
    for page in pages:
        assert call(page)[0].startswith("200"), page
    main = detail(call)["id"]
    assert call(f"/api/studies/{main}/param_importances")[0].startswith("200")


def test_the_metric_and_the_answer_are_named(call: Get, stored: str) -> None:
    found = detail(call)
    assert found["objective_names"] == ["pickscore"]
    summary = json_answer(stored)
    assert f"λ*    {summary['lam']:.3f}" in found["note"]["body"]
    assert "constraint" in found["note"]["body"]


def test_score_batches_are_figures_instead(call: Get) -> None:
    for trial in detail(call)["trials"]:
        attributes = {each["key"]: each["value"] for each in trial["user_attrs"]}
        assert not [key for key in attributes if key.startswith("scores:")]
        assert {"seconds", "stderr", "missing", "others/clip"} <= attributes.keys()
        assert all(len(value) < 100 for value in attributes.values())


def test_the_constraint_is_in_optunas_own_form(call: Get, stored: str) -> None:
    means = {e["lam"]: e["others"]["clip"] for e in json_answer(stored)["evaluations"]}
    storage = ShownStorage(stored)
    trials = storage.get_all_trials(storage.get_study_id_from_name("s"))
    assert len(trials) == 3
    for trial, shown in zip(trials, detail(call)["trials"], strict=True):
        violation = means[0.0] - means[trial.params["lam"]]
        assert shown["constraints"] == pytest.approx([violation], abs=1e-7)
        assert list(trial.constraints.values()) == shown["constraints"]


def test_every_evaluation_has_a_strip_of_its_images(call: Get) -> None:
    found = detail(call)
    for trial in found["trials"]:
        (artifact,) = trial["artifacts"]
        place = f"/artifacts/{found['id']}/{trial['trial_id']}/{artifact['artifact_id']}"
        status, content = call(place)
        assert status.startswith("200")
        with Image.open(io.BytesIO(content)) as strip:
            assert strip.format == "PNG"


def test_a_study_of_another_program_is_shown_as_it_is(call: Get) -> None:
    found = detail(call, "other")
    assert found["note"]["body"] == ""
    assert found["trials"][0]["values"] == [1.0]


def test_nothing_is_changed_whatever_is_clicked(
    call: Callable[..., tuple[str, bytes]], stored: str
) -> None:
    before = dump(stored)
    main = detail(call)["id"]
    body = json.dumps({"body": "mine", "version": 2}).encode()
    for path, method in ((f"/api/studies/{main}/note", "PUT"), (f"/api/studies/{main}", "DELETE")):
        assert call(path, method, body)[0].startswith("500")
    assert dump(stored) == before


def test_a_note_that_somebody_wrote_stays(stored: str, tmp_path: Path) -> None:
    import optuna_dashboard

    file = tmp_path / "studies.db"
    shutil.copy(stored.removeprefix("sqlite:///"), file)
    url = f"sqlite:///{file}"
    optuna_dashboard.save_note(optuna.load_study(study_name="s", storage=url), "mine")
    storage = ShownStorage(url)
    shown = storage.get_study_system_attrs(storage.get_study_id_from_name("s"))
    assert shown["dashboard:note_str:0"] == "mine"


def test_problems_are_one_line(
    stored: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["dashboard"]) == 1
    assert "does not exist" in capsys.readouterr().err
    assert cli.main(["dashboard", "--port", "70000", "--storage", stored]) == 2
    assert "expected a port" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_serves_it_on_this_machine_alone(
    stored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until Ctrl-C, after which the port is free again."""
    import os
    import signal
    import socket
    import subprocess
    import sys

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["dashboard", "--storage", stored, "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "lamsearch", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ.copy(),
    )
    stop = threading.Timer(120, process.kill)
    stop.start()
    assert process.stderr is not None
    line = process.stderr.readline()
    assert f"http://127.0.0.1:{port}" in line
    with socket.create_connection(("127.0.0.1", port)):  # a browser's, which it does not use
        page = f"http://127.0.0.1:{port}/api/studies"
        with urllib.request.urlopen(page, timeout=60) as answer:
            assert b"study_summaries" in answer.read()
        stranger = urllib.request.Request(page, headers={"Host": f"evil.example:{port}"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(stranger, timeout=60)
    assert cli.main(words) == 1
    assert "cannot be used" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    process.stderr.close()
    stop.cancel()


def json_answer(url: str) -> dict[str, Any]:
    from lamsearch.report.summarize import summarize
    from lamsearch.study.database import Study

    return summarize(Study.open("s", url)).to_json()


def dump(url: str) -> list[str]:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        return list(connection.iterdump())
