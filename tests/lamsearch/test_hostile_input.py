"""What a stranger may put into settings, names and options: one line, or shown safely."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamsearch
from lamsearch import cli
from lamsearch.config.settings import load_settings
from lamsearch.errors import LamsearchError, SettingsError
from lamsearch.keywords import AgreeKeywords, RunKeywords, SearchKeywords

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold]$\\frac{$:smile:"
UNSAFE = ("\x1b", "\x07", "\x9b", "\u202e")

Here = tuple[Path, Callable[..., int]]


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    """A folder with settings in it, and `lamsearch run` there."""
    for part in world.iterdir():
        (tmp_path / part.name).symlink_to(part)
    settings = (world / "lamsearch.toml").read_text()
    (tmp_path / "lamsearch.toml").unlink()
    (tmp_path / "lamsearch.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def run(*more: str) -> int:
        required = ["--anchor", "b500", "--reward", "pickscore", "--budget", "2", "--images", "2"]
        return cli.main(["run", *required, *more])

    return tmp_path, run


def add(folder: Path, text: str) -> None:
    with (folder / "lamsearch.toml").open("a") as settings:
        settings.write(text)


def test_settings_run_no_code_unless_it_is_allowed(
    here: Here, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run = here
    (folder / "mine_of_this_test.py").write_text(
        "import numpy as np\nopen('ran', 'w').close()\n"
        "class Mine:\n    def score(self, images, prompts): return np.arange(len(images)) / 9\n"
    )
    add(folder, "[rewards.mine]\nclass = 'mine_of_this_test:Mine'\n")
    add(folder, "[rewards.evil]\nclass = 'os:system'\ncommand = 'touch ran'\n")
    for given in (("--reward", "mine"), ("--reward", "clip + 2*evil"), ("--also", "evil")):
        assert run(*given) == 2
        assert "would run" in (line := capsys.readouterr().err.splitlines()[-1])
        assert "--allow-code" in line
    assert run("--constraint", "evil >= 0") == 2
    with pytest.raises(SettingsError, match="would run os:system"):
        lamsearch.run("b500", "evil")
    assert not (folder / "ran").exists()
    assert not (folder / "lamsearch-studies").exists()
    assert run() == 0  # nobody asked for these rewards
    assert run("--reward", "mine", "--allow-code") == 0
    assert (folder / "ran").exists()


@pytest.mark.parametrize(
    ("sampling", "problem"),
    [
        ("steps = 2000", "steps = 2000 given, expected at most 1000"),
        ("height = 100\nwidth = 100", "have to be divisible by 8"),
        ("height = 64", "height given without width, expected both or neither"),
        ("scheduler_config = { timestep_spacing = 'x' }", "scheduler"),
        ("scheduler_config = { beta_start = 'x' }", "does not take scheduler_config beta_start"),
        ("scheduler_config = { num_train_timesteps = -5 }", "does not take scheduler_config"),
    ],
)
def test_what_diffusers_refuses_later_leaves_the_study_usable(
    here: Here, capsys: pytest.CaptureFixture[str], sampling: str, problem: str
) -> None:
    folder, run = here
    good = (folder / "lamsearch.toml").read_text()
    table = "[anchors.b500.sampling]\n"
    without = good.replace("steps = 3\n", "") if "steps" in sampling.split("\n")[0][:5] else good
    (folder / "lamsearch.toml").write_text(without.replace(table, f"{table}{sampling}\n"))
    assert run() == 2
    assert problem in capsys.readouterr().err.splitlines()[-1]
    (folder / "lamsearch.toml").write_text(good)
    assert run() == 0


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "a\\b", "a\x1b[2J", "a\nb", "\ud800", "日" * 90, "x" * 256]
)
def test_names_that_are_no_folders_are_refused_before_anything_is_loaded(
    here: Here, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder, run = here
    assert run("--study", name) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: study '")
    assert last.isprintable()
    with pytest.raises(SettingsError, match="study '"):
        lamsearch.search(lambda lam: lam, study=name)
    assert not (folder / "lamsearch-studies").exists()
    if "\ud800" not in name:
        for kind in ("anchors", "rewards"):
            (folder / "x.toml").write_text(f"[{kind}.{json.dumps(name)}]\n")
            with pytest.raises(SettingsError, match=f"{kind}: the name '"):
                load_settings(folder / "x.toml")


def test_a_long_name_within_the_limit_keeps_its_pictures(here: Here) -> None:
    folder, run = here
    assert run("--study", "日" * 85) == 0
    assert len(list((folder / "lamsearch-studies").glob("*/*.png"))) == 4


def test_nothing_in_settings_reaches_the_terminal_raw(
    here: Here, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, run = here
    text = (folder / "lamsearch.toml").read_text()
    evil = json.dumps(EVIL)
    described = f"description = {evil}\n" + text.replace('description = "tiny random models"', "")
    for settings in (
        described,
        text + f"[anchors.x]\n{evil} = 1\n",
        text + f"[rewards.x]\ntype = {evil}\n",
        text + f"[rewards.{evil}]\ntype = 'clip'\n",
        text + f"{EVIL}",
    ):
        (folder / "lamsearch.toml").write_text(settings)
        run("--reward", EVIL)
        printed = "".join(capfd.readouterr())
        assert not any(each in printed for each in UNSAFE), settings
    run("--study", EVIL, "--constraint", EVIL, "--device", EVIL, "--also", EVIL)
    cli.main(["show", EVIL])
    with pytest.raises(SystemExit):
        run("--budget", EVIL)
    printed = "".join(capfd.readouterr())
    assert not any(each in printed for each in UNSAFE)


def test_nothing_in_a_database_reaches_the_terminal_raw(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"

    def scores(lam: float) -> dict[str, Any]:
        return {"score": [lam, 1.0, 2 * lam], f"guard {EVIL}": [1.0, lam, 3.0]}

    lamsearch.search(scores, beta=500, budget=2, storage=storage, study="good")
    lines = tmp_path / "s.jsonl"
    assert cli.main(["export-study", "good", "--storage", storage, "-o", str(lines)]) == 0
    head, *rest = lines.read_text().splitlines()
    facts = json.loads(head)
    facts["name"] = f"study {EVIL}"
    facts["facts"]["manifest"] |= {"anchor": EVIL, "reward": EVIL}
    lines.write_text("\n".join([json.dumps(facts), *rest]))
    assert cli.main(["import", str(lines), "--storage", storage]) == 0
    name = facts["name"]
    shown = ["--storage", storage]
    assert cli.main(["list", *shown]) == 0
    assert cli.main(["show", name, *shown]) == 0
    assert cli.main(["plot", name, *shown, "-o", str(tmp_path / "x.svg")]) == 0
    assert cli.main(["show", "absent", *shown]) == 1
    printed = "".join(capfd.readouterr())
    assert not any(each in printed for each in UNSAFE)
    assert r"[bold]$\frac{$:smile:" in printed  # as it is: neither markup nor emoji
    assert cli.main(["show", name, *shown, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["anchor"] == EVIL


def test_a_narrow_terminal_cuts_no_number_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    lamsearch.search(lambda lam: [lam, 1.0, 2 * lam], beta=500, budget=2, storage=storage)
    for columns in ("20", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert cli.main(["show", "search", "--storage", storage]) == 0
        row = next(line for line in capsys.readouterr().out.splitlines() if "1.33333" in line)
        assert " 1.000 " in row
        assert " 500 " in row


def test_narrow_bounds_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = f"sqlite:///{tmp_path}/s.db"
    found = lamsearch.search(
        lambda lam: [1e6 * lam, 1.0, 2], budget=4, bounds=(0, 1e-6), storage=storage
    )
    assert cli.main(["show", "search", "--storage", storage]) == 0
    table = capsys.readouterr().out
    for evaluation in found.evaluations:
        assert f"{evaluation.lam:.8f}" in table


def test_negative_lams_have_no_strength(tmp_path: Path) -> None:
    found = lamsearch.search(lambda lam: -((lam + 1.5) ** 2), beta=500, budget=3, bounds=(-2, -1))
    assert found.effective_beta is None
    assert [each.effective_beta for each in found.evaluations] == [None] * 3
    both = lamsearch.search(lambda lam: lam, beta=500, budget=3, bounds=(-1, 1))
    strengths = {each.lam: each.effective_beta for each in both.evaluations}
    assert (strengths[-1.0], strengths[1.0]) == (None, 500.0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--images", "99999999999"),
        ("--images", "9" * 5000),
        ("--confirm", "99999999999"),
        ("--budget", "99999999999"),
        ("--budget", "nan"),
        ("--budget", "2.5"),
        ("--batch-size", "99999999999999999999"),
        ("--constraint", "clip >= 1e999"),
        ("--constraint", "clip >= " + "9" * 16_000),
        ("--constraint", "clip " * 4000),
        ("--reward", "?"),
        ("--reward", "1*" * 8000),
        ("--device", "hpu"),
        ("--device", "meta"),
        ("--device", ""),
        ("--bounds", "nan"),
    ],
    ids=range(16),
)
def test_absurd_options_are_refused_at_once(
    here: Here, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    folder, run = here
    values = [value, "1"] if option == "--bounds" else [value]
    try:
        assert run(option, *values) == 2
    except SystemExit as ended:
        assert ended.code == 2  # noqa: PT017
    last = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in last
    assert len(last) < 2500
    assert not (folder / "lamsearch-studies").exists()


class Mute:
    def __repr__(self) -> str:
        raise ValueError("no repr")


REFUSED = "sqlite:////dev/null"
"""A storage that ends what would else go on to search."""

WRONG: list[Any] = [
    *(
        None,
        True,
        -1,
        2.5,
        float("nan"),
        float("inf"),
        10**400,
        10**5000,
        "x",
        "",
        b"x",
        [],
        {},
        (),
    ),
    *(object(), np.array([1, 2]), 1j, len, int, Mute(), [Mute()], EVIL, "\ud800", "x" * 100_000),
    *(b"x", {"a": 1}, [None], (0, "1"), (10**400, 1), np.float32(2)),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anchor", "reward", "budget", *RunKeywords.__annotations__])
def test_wrong_types_for_run(here: Here, name: str) -> None:
    arguments = {"anchor": "b500", "reward": "pickscore", "storage": REFUSED}
    refused = require_ours(lamsearch.run, arguments, name)
    assert refused == len(WRONG)  # the storage at the latest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["anchor", "reward", *AgreeKeywords.__annotations__])
def test_wrong_types_for_agree(here: Here, name: str) -> None:
    folder, _ = here
    text = (folder / "lamsearch.toml").read_text()
    add(folder, text[text.index("[anchors.b500]") : text.index("[rewards")].replace("500", "250"))
    (folder / "b250").symlink_to("b500")
    arguments = {
        "anchor": ["b500", "b250"],
        "reward": ["pickscore"],
        "storage": REFUSED,
    }
    assert require_ours(lamsearch.agree, arguments, name) == len(WRONG)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "beta", "study", *SearchKeywords.__annotations__])
def test_wrong_types_for_search(here: Here, name: str) -> None:
    arguments = {"evaluate": lambda lam: lam, "storage": REFUSED}
    assert require_ours(lamsearch.search, arguments, name) == len(WRONG)


def require_ours(function: Callable[..., Any], arguments: dict[str, Any], name: str) -> int:
    """Return how often a wrong value ended in an error of ours, and let pass no other one."""
    refused = 2 if name == "storage" else 0
    for value in WRONG:
        if name == "storage" and (value is None or (isinstance(value, str) and not value)):
            continue  # the default
        try:
            function(**{**arguments, name: value})
        except LamsearchError as error:
            message = str(error)
        else:
            continue
        refused += 1
        assert "\n" not in message
        assert len(message) < 2500
    return refused
