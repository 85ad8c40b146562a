"""`lamsearch vote` as a process: its address, its end, its answer."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from lamsearch import cli
from lamsearch.study.database import Study

from .voted_study import make_study

COMMAND = (sys.executable, "-c", "import sys; from lamsearch.cli import main; sys.exit(main())")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("study"))


@contextmanager
def voting(study: Study, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command; yields the process and the page's address."""
    arguments = [*COMMAND, "vote", "s", "--storage", str(study.storage), *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            address = re.fullmatch(
                r"vote at (http://127\.0\.0\.1:\d+/\S{32}/) \(Ctrl-C ends it\)\n", line
            )
            assert address, line
            yield process, address[1]
        finally:
            process.kill()


def post(url: str, body: dict[str, Any]) -> None:
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        response.read()


@pytest.mark.slow
def test_the_answer_is_printed_when_the_vote_ends(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    with voting(study, "--json", "--rater", "Bob") as (process, url):
        with urllib.request.urlopen(f"{url}next?rater=Bob", timeout=60) as response:
            ballot = json.load(response)["ballot"]
        post(f"{url}vote", {"ballot": ballot, "choice": "left", "rater": "Bob"})
        post(f"{url}done", {})
        printed, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said == ""
    answer = json.loads(printed)
    assert (answer["people"]["votes"], answer["people"]["raters"]) == (1, 1)
    assert [vote.rater for vote in study.votes()] == ["Bob"]

    where = ["--storage", str(study.storage)]
    assert cli.main(["show", "s", "--json", *where]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert cli.main(["show", "s", *where]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    low, high = answer["people"]["lam_interval"]
    people = f"people's λ* {answer['people']['lam']:.3f} 95 % interval {low:.3f} to {high:.3f}"
    assert people in shown
    assert "(1 vote of 1 rater, 0 ties)" in shown


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_signals_end_it_in_order(study: Study, sent: signal.Signals, status: int) -> None:
    with voting(study) as (process, _):
        process.send_signal(sent)
        printed, said = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in said
    assert ("study s" in printed) == (status == 0)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--port", "70000"], 2, "error: port 70000 given, expected 0 to 65535"),
        (["--rater", ""], 2, "error: rater '' given, expected 1 to 80 printable characters"),
        (["--rater", "a\nb"], 2, "expected 1 to 80 printable characters"),
    ],
)
def test_wrong_options_are_one_line(
    study: Study,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    assert cli.main(["vote", "s", "--storage", str(study.storage), *arguments]) == status
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_other_studies_are_one_line(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["vote", "t", "--storage", str(study.storage)]) == 1
    assert "error: no study 't' in" in capsys.readouterr().err
    Study.create("empty", study.storage)
    assert cli.main(["vote", "empty", "--storage", str(study.storage)]) == 1
    assert "error: study 'empty' has no image at two λs: " in capsys.readouterr().err


def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    optuna.create_study(study_name="x", storage=f"sqlite:///{file}", direction="maximize")
    before = file.read_bytes()
    assert cli.main(["vote", "x", "--storage", f"sqlite:///{file}"]) == 1
    assert file.read_bytes() == before


def test_without_the_extra_it_says_what_to_install(
    study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("lamsearch.voting.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)  # as if it were not there
    assert cli.main(["vote", "s", "--storage", str(study.storage)]) == 2
    line = "error: lamsearch vote needs uvicorn, of the extra vote: pip install 'lamsearch[vote]'\n"
    assert capsys.readouterr().err == line


def test_other_commands_do_not_need_the_extra() -> None:
    block = "import sys; sys.modules['starlette'] = sys.modules['uvicorn'] = None; "
    program = block + "from lamsearch.cli import main; sys.exit(main(['vote', '--help']))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0
    assert "--rater NAME" in done.stdout


def test_votes_on_a_study_of_another_folder_use_its_images(tmp_path: Path) -> None:
    """The images are found beside the database, whatever the working directory is."""
    from lamsearch.voting.ballots import kept_images

    study = make_study(tmp_path)
    kept = kept_images(study)
    assert sorted(kept) == [0, 1, 2]
    assert all(len(files) == 4 for files in kept.values())
