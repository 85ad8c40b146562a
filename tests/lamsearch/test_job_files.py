"""Job files: valid, quoted, without passwords, and the command that was given."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lamsearch.cli import build_parser, main
from lamsearch.job_files import skypilot_task, slurm_script

POSTGRES = "postgresql://user:hunter2@host/studies"
RUN = ["--anchor", "b500", "--reward", "pickscore + 0.3*clip", "--budget", "12"]
HOSTILE = ["a'b", '$(touch x)"`', "#SBATCH --uid=0\n#SBATCH", "-x", "λ → \u2028", "a: {b}", "\\"]

# What the operating system takes as an argument.
WORDS = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
)


def launch(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    assert main(["launch", *arguments]) == 0
    printed = capsys.readouterr()
    return printed.out, printed.err


def echoed(script: str, folder: Path) -> list[str]:
    """Return the arguments that a script calls its command with, by running it with another."""
    show = folder / "lamsearch"
    show.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    show.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "LAMSEARCH_STORAGE": POSTGRES}
    done = subprocess.run(
        ["/bin/bash", "-c", script], capture_output=True, env=environment, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def test_a_job_array_starts_workers_of_one_study(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    more = ["--bounds", "-0.5", "2", "--also", "clip,hps", "--json", "--confirm", "8"]
    script, messages = launch(capsys, "--slurm", "4", *RUN, *more, "--storage", POSTGRES)
    header = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    assert script.startswith("#!/bin/bash\n#SBATCH")
    assert "#SBATCH --array=0-3" in header
    assert all(line.split()[1].startswith("--") and len(line.split()) == 2 for line in header)
    subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=True)
    assert "hunter2" not in script + messages
    command, *arguments = echoed(script, tmp_path)
    assert command == "run"
    given = build_parser(["run"]).parse_args(["run", *RUN, *more])
    launched = build_parser(["run"]).parse_args(["run", *arguments])
    assert vars(given) == vars(launched)


def test_a_task_file_is_yaml(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAMSEARCH_STORAGE", POSTGRES)
    text, messages = launch(capsys, "--skypilot", "3", *RUN)
    task = yaml.safe_load(text)
    assert (task["num_nodes"], task["secrets"]) == (3, {"LAMSEARCH_STORAGE": None})
    assert "hunter2" not in text + messages
    assert echoed(task["run"], tmp_path)[1:] == [
        "--anchor=b500",
        "--reward=pickscore + 0.3*clip",
        "--budget=12",
    ]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_arguments_and_nothing_else(name: str, tmp_path: Path) -> None:
    arguments = ["lamsearch", "run", f"--anchor={name}", name]
    script = slurm_script(arguments, 2)
    assert echoed(script, tmp_path) == arguments[1:]
    assert echoed(yaml.safe_load(skypilot_task(arguments, 2))["run"], tmp_path) == arguments[1:]
    # sbatch reads its directives up to the first command.
    directives = script.partition("\nset -eu\n")[0]
    assert "uid" not in directives


@given(WORDS)
def test_any_argument_survives_yaml_and_quoting(name: str) -> None:
    arguments = ["lamsearch", "run", name]
    task = yaml.safe_load(skypilot_task(arguments, 2))
    assert shlex.split(task["run"]) == ["exec", *arguments]
    assert shlex.split(slurm_script(arguments, 1).partition("exec ")[2]) == arguments


def test_a_file_is_refused_where_several_machines_would_share_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAMSEARCH_STORAGE", raising=False)
    for target in (["--slurm", "2"], ["--skypilot", "1"]):
        assert main(["launch", *target, *RUN]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "cannot share an SQLite file" in printed.err
        assert "LAMSEARCH_STORAGE" in printed.err
    script, _ = launch(capsys, "--slurm", "1", *RUN, "--storage", "sqlite:///studies.db")
    assert "--storage sqlite:///studies.db" in script
    assert "LAMSEARCH_STORAGE" not in script


def test_names_are_what_run_reads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lists = ["--track", "tensorboard,mlflow", "--also", "clip", "--also", "hps"]
    script, _ = launch(capsys, "--slurm", "1", *RUN, *lists, "--storage", POSTGRES)
    arguments = echoed(script, tmp_path)
    options = build_parser(arguments).parse_args(arguments)
    assert (options.track, options.also) == (["tensorboard", "mlflow"], ["clip", "hps"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--slurm", "0", *RUN], "0 workers given"),
        (["--slurm", "2", *RUN, "--images", "1"], "images 1 given"),
        (["--slurm", "2", *RUN, "--actors", "2"], "without --ray"),
        (["--slurm", "2", *RUN, "--track", "tensorbord"], "did you mean 'tensorboard'"),
    ],
)
def test_what_run_refuses_is_refused_before_it_is_queued(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["launch", *arguments, "--storage", POSTGRES]) == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert printed.out == ""
