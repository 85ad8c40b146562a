"""Whatever a reward does, a command ends in one line, loses nothing, and prints one JSON object."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lamsearch import cli
from lamsearch.study.database import Study

SOURCE = '''
import ctypes, os, subprocess, sys
import numpy as np

calls = []

def brightness(images):
    return np.array([np.asarray(image).mean() for image in images], np.float32)

class Noisy:
    def score(self, images, prompts):
        print("by print")
        sys.__stdout__.write("by the first stdout\\n")
        os.write(1, b"by os.write\\n")
        ctypes.CDLL(None).printf(b"by C\\n")
        subprocess.run(["echo", "by a child"], check=True)
        sys.stdout.flush()
        return brightness(images)

class MuteError(Exception):
    def __str__(self):
        raise RuntimeError

ERRORS = {
    "value": ValueError("bad\\nworse"),
    "exit": SystemExit(0),
    "generator": GeneratorExit(),
    "mute": MuteError(),
    "memory": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    "interrupt": KeyboardInterrupt(),
}

class Fails:
    """Raises at the second evaluation, the first time that it comes there."""
    def __init__(self, error):
        self.error, self.seen = ERRORS[error], 0
    def score(self, images, prompts):
        calls.append(len(images))
        self.seen += len(images)
        if self.seen > 4 and "mended" not in os.environ:
            raise self.error
        return brightness(images)

class Closes:
    def score(self, images, prompts):
        sys.stdout.close()
        return brightness(images)

class Blind:
    def score(self, images, prompts):
        return np.full(len(images), np.nan)

class Constant:
    def score(self, images, prompts):
        return np.full(len(images), 0.5)
'''

REWARDS = """
[rewards.noisy]
class = "bad_rewards:Noisy"
[rewards.closes]
class = "bad_rewards:Closes"
[rewards.blind]
class = "bad_rewards:Blind"
[rewards.constant]
class = "bad_rewards:Constant"
""" + "".join(
    f'[rewards.{kind}]\nclass = "bad_rewards:Fails"\nerror = "{kind}"\n'
    for kind in ("value", "exit", "generator", "mute", "memory", "interrupt")
)

Run = Callable[..., int]


@pytest.fixture
def run(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`lamsearch run` on the tiny world, with a reward of this page."""
    folder = tmp_path / "world"
    shutil.copytree(world, folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "bad_rewards", raising=False)
    (folder / "bad_rewards.py").write_text(SOURCE)
    settings = folder / "lamsearch.toml"
    settings.write_text(settings.read_text() + REWARDS)
    given = ["run", "--anchor", "b500", "--budget", "3", "--images", "4", "--batch-size", "2"]

    def run(reward: str, *more: str) -> int:
        return cli.main(
            [*given, "--allow-code", "--config", str(settings), "--reward", reward, *more]
        )

    return run


def test_what_a_reward_prints_stays_out_of_the_answer(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("noisy", "--json") == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["reward"] == "noisy"
    assert printed.out.count("\n") == 1
    for how in ("print", "the first stdout", "os.write", "C", "a child"):
        assert printed.err.count(f"by {how}\n") == 6  # three λs of two batches
    print("as before")  # noqa: T201
    os.write(1, b"as before\n")
    assert capfd.readouterr().out.count("as before\n") == 2


def test_a_reward_that_closes_standard_output_closes_its_own(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("closes", "--json") == 0
    assert json.loads(capfd.readouterr().out)["reward"] == "closes"


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("value", "raised ValueError: bad"),
        ("exit", "raised SystemExit: 0"),
        ("generator", "raised GeneratorExit"),
        ("mute", "raised MuteError: (its message cannot be shown: RuntimeError)"),
        ("memory", "raised RuntimeError: CUDA out of memory. Tried to allocate 2 GiB (with a"),
    ],
)
def test_a_reward_that_raises_is_one_line_and_the_search_resumes(
    run: Run,
    kind: str,
    line: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(kind, "--json") == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert f"\nerror: reward '{kind}': {line}" in printed.err
    assert "Traceback" not in printed.err
    assert "image size" not in printed.err
    study = Study.open(f"b500-{kind}-seed0", "sqlite:///lamsearch-studies/studies.db")
    assert not study.has_live_workers
    assert len(study.history().finished) == 1
    monkeypatch.setenv("mended", "yes")
    calls = sys.modules["bad_rewards"].calls
    calls.clear()
    assert run(kind, "--json") == 0
    assert calls == [2] * 4  # the two λs that had no score yet
    assert len(json.loads(capfd.readouterr().out)["evaluations"]) == 3


def test_ctrl_c_inside_a_reward_is_ctrl_c(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("interrupt") == 130
    error = capfd.readouterr().err
    assert error.splitlines()[-1].startswith("stopped; resume with: lamsearch run")
    assert "Traceback" not in error


def test_a_reward_without_scores_ends_the_search_without_an_answer(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("blind", "--json") == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "error: at lam = 0: 4 of 4 scores are missing, 2 times" in printed.err
    assert cli.main(["show", "b500-blind-seed0", "--json"]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "has no finished evaluation yet (4 of 4 scores are missing, 2 times)" in printed.err


def test_a_constant_reward_is_called_constant_by_its_name(
    run: Run, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("constant", "--json") == 0
    notes = {n["code"]: n["text"] for n in json.loads(capfd.readouterr().out)["notes"]}
    assert notes["constant"].startswith("constant is constant: every score is 0.5 at every λ")


def program(*arguments: str, before: str = "", **options: object) -> subprocess.Popen[str]:
    """Start the program as the console script does, after some lines of Python."""
    code = f"import sys\n{before}\nfrom lamsearch.__main__ import main\nsys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    error = process.communicate()[1]
    return process.returncode, error


@pytest.fixture
def studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    (tmp_path / "lamsearch-studies").mkdir()
    Study.create("s", "sqlite:///lamsearch-studies/studies.db")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(["--version"], ""), (["list"], ""), (["list", "--json"], ""), (["list"], "1")],
)
def test_where_nobody_reads_the_output_it_ends_quietly(
    studies: Path, arguments: Sequence[str], unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reads, writes = os.pipe()
    process = program(*arguments, stdout=writes)
    os.close(writes)
    os.close(reads)
    status, error = ended(process)
    assert error == ""
    assert status == 128 + signal.SIGPIPE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_answer_that_cannot_be_written_is_one_line(studies: Path) -> None:
    with open("/dev/full", "w") as full:
        status, error = ended(program("list", "--json", stdout=full))
    assert status == 1
    assert error.startswith("error: the answer cannot be printed: No space left on device")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["list"], ["run", "--anchor", "beta500"]])
def test_a_closed_standard_output_is_noticed_before_anything_is_computed(
    studies: Path, arguments: Sequence[str]
) -> None:
    more = ["--reward", "pickscore", "--budget", "2"] if "run" in arguments else []
    status, error = ended(program(*arguments, *more, preexec_fn=_close_stdout))
    assert status == 1
    assert error.startswith("error: standard output is closed, expected somewhere to print")
    assert error.count("\n") == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_no_file_takes_the_place_of_a_closed_stream(studies: Path) -> None:
    before = """
import atexit, os
atexit.register(lambda: os.write(2, os.readlink("/proc/self/fd/1").encode()))
"""
    closed = program("export-study", "s", "-o", "s.jsonl", before=before, preexec_fn=_close_stdout)
    status, error = ended(closed)
    assert status == 0
    assert error.endswith("/dev/null") or "pipe:" in error.splitlines()[-1]


def _close_stdout() -> None:
    os.close(1)


SIGNALS = """
import builtins, os, signal
real, sent = builtins.__import__, []
def interrupted(name, *more, **given):
    if name == {module!r} and not sent:
        sent.append(name)
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *more, **given)
builtins.__import__ = interrupted
"""


IMPORTED = ("standard_streams", "cli", "errors", "commands", "flags", "bayesopt.config")


@pytest.mark.parametrize(
    "module", ["argparse", "rich.console", *(f"lamsearch.{name}" for name in IMPORTED)]
)
def test_ctrl_c_while_the_program_starts_is_one_line(studies: Path, module: str) -> None:
    given = ["run", "--anchor", "beta500", "--reward", "pickscore", "--budget", "2"]
    status, error = ended(program(*given, before=SIGNALS.format(module=module)))
    assert status == 130
    assert error.startswith("stopped")
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("module", ["sqlalchemy.engine", "base_events", "numpy"])
def test_ctrl_c_while_libraries_are_imported_shows_no_password(studies: Path, module: str) -> None:
    given = ["run", "--anchor", "beta500", "--reward", "pickscore", "--budget", "2"]
    storage = "--storage=postgresql://me:secret@localhost/x"
    status, error = ended(program(*given, storage, before=SIGNALS.format(module=module)))
    assert status == 130
    assert error.splitlines()[-1].startswith("stopped; resume with: lamsearch run")
    assert "Traceback" not in error
    assert "secret" not in error


def test_what_is_printed_at_exit_stays_out_of_the_answer(studies: Path) -> None:
    before = "import atexit\natexit.register(print, 'at exit')"
    process = program("list", "--json", before=before, stdout=subprocess.PIPE)
    out, error = process.communicate()
    assert [row["name"] for row in json.loads(out)["studies"]] == ["s"]
    assert error == "at exit\n"
