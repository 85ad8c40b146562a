"""Storages that are not what they should be are one line, and nothing is written to them."""

from __future__ import annotations

import os
import shlex
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from lamsearch.errors import StudyError
from lamsearch.study.batches import Batch
from lamsearch.study.database import Study
from lamsearch.study.journal import save_aside
from lamsearch.study.sqlite_files import check_file, network_type
from lamsearch.study.storage import open_storage
from lamsearch.study.urls import parse_url, redacted_url
from studies import begin


def make_study(file: Path, images: int = 4) -> None:
    study = Study.create("s", f"sqlite:///{file}")
    evaluation = begin(study, 1)
    assert evaluation is not None
    study.record(evaluation, Batch(range(images), [0.1 * i for i in range(images)]))
    study.finish(evaluation)
    study._database.engine.dispose()


def cut(file: Path, size: int) -> None:
    make_study(file)
    os.truncate(file, size)


def foreign(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


def flip(file: Path) -> None:
    make_study(file, images=4000)
    content = bytearray(file.read_bytes())
    for place in range(4096, len(content), 4096):
        content[place : place + 8] = os.urandom(8)
    file.write_bytes(content)


def dangling(file: Path) -> None:
    file.symlink_to(file.parent / "nowhere.db")


def pipe(file: Path) -> None:
    os.mkfifo(file)


def listening(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(file))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda file: file.touch(), "is empty"),
    "one byte": (lambda file: cut(file, 1), "is empty: cut off"),
    "half": (lambda file: cut(file, 20_000), "is damaged"),
    "text": (lambda file: file.write_text("[anchors]\n" * 99), "is no SQLite database"),
    "foreign": (foreign, "is no database of studies: it has the tables songs"),
    "flipped bytes": (flip, "is damaged"),
    "folder": (lambda file: file.mkdir(), "is no regular file"),
    "dangling link": (dangling, "is a link to nothing"),
    "pipe": (pipe, "is no regular file"),
    "socket": (listening, "is no regular file"),
    "device": (lambda file: file.symlink_to("/dev/zero"), "is no regular file"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("create", [False, True])
def test_a_file_that_is_no_sound_database_is_refused_and_left_alone(
    fault: str, create: bool, tmp_path: Path
) -> None:
    file = tmp_path / "x.db"
    make, said = FAULTS[fault]
    make(file)
    regular = stat.S_ISREG(file.lstat().st_mode)
    before = file.read_bytes() if regular else b""
    open_ = Study.create if create else Study.open
    with pytest.raises(StudyError, match=said) as error:
        open_("s", f"sqlite:///{file}")
    assert "\n" not in str(error.value)
    assert str(file) in str(error.value)
    assert not regular or file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".db"] == ["x.db"]


def test_another_version_of_the_tables_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    make_study(file)
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE version_info SET schema_version = 3")
        connection.execute("UPDATE alembic_version SET version_num = 'v0.9.0'")
    connection.close()
    with pytest.raises(StudyError, match=r"cannot be opened: .*version") as error:
        Study.open("s", f"sqlite:///{file}")
    assert "\n" not in str(error.value)


def test_reading_writes_nothing(tmp_path: Path) -> None:
    """Also where no worker of this version has been: the table of leases stays absent."""
    file = tmp_path / "x.db"
    plain = optuna.create_study(study_name="s", storage=f"sqlite:///{file}", direction="maximize")
    plain.optimize(lambda trial: trial.suggest_float("lam", 0, 1), n_trials=2)
    plain.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    before = file.read_bytes()
    study = Study.open("s", f"sqlite:///{file}")
    assert len(study.history().finished) == 2
    assert not study.has_live_workers
    assert file.read_bytes() == before


def test_a_removed_database_is_noticed_and_its_scores_are_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "place").mkdir()
    file = tmp_path / "place" / "x.db"
    study = Study.create("s", f"sqlite:///{file}")
    study.bind({"seed": 0})
    evaluation = begin(study, 1)
    assert evaluation is not None
    study.record(evaluation, Batch([0, 1], [0.1, 0.2]))
    for each in file.parent.iterdir():
        each.unlink()
    file.parent.rmdir()
    with pytest.raises(StudyError, match=r"was removed while .* lamsearch import") as error:
        study.record(evaluation, Batch([2, 3], [0.3, 0.4]))
    assert not file.exists()
    with pytest.raises(StudyError, match="was removed"):
        study.history()
    journal = journal_named_in(str(error.value), file)
    assert journal.parent == tmp_path
    assert import_journal(journal, tmp_path / "new.db") == {0: 0.1, 1: 0.2, 2: 0.3, 3: 0.4}


def journal_named_in(message: str, database: Path) -> Path:
    """Return the file of the command that ends the message, which names the database too."""
    *_, command, file, flag, storage = shlex.split(message)
    assert (command, flag, storage) == ("import", "--storage", f"sqlite:///{database}")
    return Path(file)


def test_journals_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes of one number on several machines may write in the same second."""
    monkeypatch.setattr("time.strftime", lambda *_: "20260101-000000")
    study = Study.create("s", None)
    evaluation = begin(study, 1)
    assert evaluation is not None
    database = tmp_path / "with space" / "x.db"
    database.parent.mkdir()
    for number in range(3):
        batch = Batch([number], [0.5])
        told = save_aside(study._study, database, evaluation=evaluation, batch=batch)
        assert journal_named_in(told, database).is_file()
    assert len(list(database.parent.iterdir())) == 3


def import_journal(journal: Path, file: Path) -> dict[int, float]:
    from lamsearch.study.transfer import import_studies

    url = f"sqlite:///{file}"
    assert import_studies(journal, url) == ["s"]
    (running,) = Study.open("s", url).history().running
    return dict(running.scores)


def test_a_full_disk_loses_no_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.db"
    study = Study.create("s", f"sqlite:///{file}")
    evaluation = begin(study, 1)
    assert evaluation is not None
    study.record(evaluation, Batch([0, 1], [0.1, 0.2]))
    with study._database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StudyError, match=r"disk is full: free space.*lamsearch import") as error:
        study.record(evaluation, Batch(range(2, 5000), [0.25] * 4998))
    assert "\n" not in str(error.value)
    study.release(evaluation)
    study._database.engine.dispose()
    found = import_journal(journal_named_in(str(error.value), file), file)
    assert found == {0: 0.1, 1: 0.2, **dict.fromkeys(range(2, 5000), 0.25)}


def test_a_locked_database_is_said_to_be_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lamsearch.study.storage._BUSY_TIMEOUT_SECONDS", 0.1)
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.db"
    study = Study.create("s", f"sqlite:///{file}")
    evaluation = begin(study, 1)
    assert evaluation is not None
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StudyError, match="database is locked: end the program that holds it"):
        study.record(evaluation, Batch([0], [0.1]))
    other.close()


MOUNTS = """\
overlay / overlay rw 0 0
server:/home /home nfs4 rw 0 0
tmpfs /home/fast tmpfs rw 0 0
//server/x /mnt/with\\040space cifs rw 0 0
tmpfs /data tmpfs rw 0 0
cluster /data lustre rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/home/me/studies.db", "nfs4"),
        ("/home/fast/studies.db", None),
        ("/homes/studies.db", None),
        ("/mnt/with space/x.db", "cifs"),
        ("/data/deep/x.db", "lustre"),
        ("/x.db", None),
    ],
)
def test_file_systems_of_several_machines_are_known(file: str, kind: str | None) -> None:
    assert network_type(Path(file), MOUNTS) == kind


def test_sqlite_on_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamsearch.study.sqlite_files.network_type", lambda file: "nfs4")
    with pytest.raises(StudyError, match=r"\(nfs4\).*PostgreSQL"):
        open_storage(f"sqlite:///{tmp_path}/x.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("studies.db", "studies.db given, expected a URL such as sqlite:///studies.db"),
        ("", "given, expected a URL"),
        ("sqlite:///", "names no file"),
        ("sqlite://host/x.db", "names no file"),
        ("sqlite:///~/x.db", "~ means nothing in a URL: expected sqlite:////"),
        ("postgresql://host:port/db", "expected a URL"),
        ("postgresql://me:p@ss@host/db", "write an @ of the user's name or password as %40"),
    ],
)
def test_urls_that_name_no_database_are_refused(url: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        open_storage(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/db",
        "postgresql://me@host/db?password=secret",
        "postgresql://host/db?sslmode=require&sslpassword=secret",
        "postgresql://me:se@secret@host/db",
        "postgresql://me:secret@host:port/db",
        "me:secret@host/db",
        "postgresql:me:secret@host/db",
        "mysql+pymysql://me:secret@host/db",
    ],
)
def test_passwords_are_never_shown(url: str) -> None:
    shown = redacted_url(url)
    assert shown is not None
    assert "secret" not in shown
    assert "se@" not in shown
    with pytest.raises(StudyError) as error:
        open_storage(url)
    assert "secret" not in str(error.value)


def test_a_server_without_a_named_driver_is_reached_by_psycopg() -> None:
    for given in ("postgres://me@host/db", "postgresql://me@host/db"):
        assert parse_url(given).drivername == "postgresql+psycopg"
    assert parse_url("postgresql+psycopg2://me@host/db").drivername == "postgresql+psycopg2"
    assert redacted_url("sqlite:///x.db") == "sqlite:///x.db"


def test_looking_at_a_file_keeps_the_locks_that_this_process_has_on_it(tmp_path: Path) -> None:
    """Without them the next process to leave takes itself for the last one, and removes the log."""
    file = tmp_path / "x.db"
    study = Study.create("s", f"sqlite:///{file}")
    study.remember("kept", 1)
    check_file(file, create=True)
    leave = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM studies')"
    subprocess.run([sys.executable, "-c", leave, file], check=True)
    assert file.with_name("x.db-wal").exists()
    assert study.recall("kept") == 1
