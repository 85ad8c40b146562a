"""The command line: a thin layer, one line for every problem, JSON by contract."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import optuna
import pytest
from matplotlib.image import imread

from lamsearch import cli
from lamsearch.errors import SettingsError
from lamsearch.process import spin_less
from lamsearch.study.database import Study
from studies import begin

MINIATURE = Path(cli.__file__).parent / "miniature"
FIELDS = {
    "lam",
    "effective_beta",
    "value",
    "value_stderr",
    "lam_interval",
    "gain_over_reference",
    "gain_over_aligned",
    "within",
    "limited_by",
    "best_observed",
    "evaluations",
    "unfinished",
    "anchor",
    "reward",
    "study",
    "storage",
    "seconds",
    "others",
    "constraint",
    "confirmation",
    "people",
    "onset",
    "notes",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(world: Path, *more: str) -> int:
    required = ["--anchor", "b500", "--reward", "pickscore", "--budget", "4"]
    return cli.main(
        ["run", *required, "--images", "4", "--config", str(world / "lamsearch.toml"), *more]
    )


@pytest.mark.slow
def test_run_show_and_plot(world: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(world, "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert set(answer) == FIELDS
    assert set(answer["best_observed"]) == {"lam", "value"}
    assert set(answer["evaluations"][0]) == {
        "number", "lam", "effective_beta", "value", "stderr", "images", "missing", "others"
    }  # fmt: skip
    assert answer["evaluations"][0]["lam"] == 0.0
    assert answer["evaluations"][0]["effective_beta"] is None
    assert answer["storage"] == "sqlite:///lamsearch-studies/studies.db"
    assert "tiny random models" in printed.err

    assert cli.main(["show", "b500-pickscore-seed0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert cli.main(["show", "b500-pickscore-seed0"]) == 0
    table = capsys.readouterr().out
    assert f"λ*    {answer['lam']:.3f}" in table
    assert "β/λ*" in table

    assert cli.main(["plot", "b500-pickscore-seed0", "-o", "figure.svg"]) == 0
    assert "<!-- effective β/λ -->" in (here / "figure.svg").read_text()
    assert cli.main(["plot", "b500-pickscore-seed0", "-o", "figure.png"]) == 0
    picture = imread(here / "figure.png")
    assert picture.shape[1] > 1000
    assert picture.std() > 0.05


@pytest.fixture
def without_beta(here: Path) -> Path:
    """A lamsearch.toml with an anchor of the bundled world, as if it were trained without KL."""
    bundled = (MINIATURE / "lamsearch.toml").read_text()
    absolute = re.sub(
        r'^(reference|aligned|model|processor|file|heldout) = "',
        lambda key: f'{key[1]} = "{MINIATURE.as_posix()}/',
        bundled,
        flags=re.MULTILINE,
    )
    fewer_steps = absolute.replace("steps = 20", "steps = 4")
    settings = here / "lamsearch.toml"
    settings.write_text(re.sub(r"^beta = .*\n", "", fewer_steps, flags=re.MULTILINE))
    return settings


@pytest.mark.slow
def test_an_anchor_without_beta_is_answered_with_lam_alone(
    without_beta: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = ["run", "--anchor", "beta500", "--reward", "pickscore", "--images", "4"]
    assert cli.main([*begun, "--budget", "2"]) == 0
    assert "anchor   beta500: no β, " in capsys.readouterr().err
    assert cli.main([*begun, "--budget", "4", "--confirm", "2", "--json"]) == 0  # resumed
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == FIELDS
    rows = [*answer["evaluations"], *answer["confirmation"]["values"]]
    assert [each["effective_beta"] for each in (answer, *rows)] == [None] * (1 + len(rows))
    notes = {note["code"]: note["text"] for note in answer["notes"]}
    alone = "the answer is λ* alone, without a KL strength β/λ*"
    assert notes["no_beta"] == f"no β is given for anchor 'beta500': {alone}"
    study = Study.open("beta500-pickscore-seed0", answer["storage"])
    assert study.manifest["beta"] is None

    assert cli.main(["show", study.name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert cli.main(["show", study.name]) == 0
    table = " ".join(capsys.readouterr().out.split())
    assert f"λ* {answer['lam']:.3f}" in table
    assert notes["no_beta"] in table
    assert "β/λ" not in table.replace(notes["no_beta"], "")
    assert cli.main(["list"]) == 0
    assert f"{answer['lam']:.3f}" in capsys.readouterr().out

    assert cli.main(["plot", study.name, "-o", "figure.svg"]) == 0
    drawn = (here / "figure.svg").read_text()
    assert f"<!-- note: {notes['no_beta']} -->" in drawn
    assert "effective β/λ" not in drawn


def test_a_beta_that_is_no_kl_strength_is_refused(
    without_beta: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = without_beta.read_text().replace("[anchors.beta500]", "[anchors.beta500]\nbeta = 0")
    without_beta.write_text(given)
    assert cli.main(["run", "--anchor", "beta500", "--reward", "pickscore", "--budget", "2"]) == 2
    assert "anchors.beta500.beta: 0 given, expected a number > 0" in capsys.readouterr().err


@pytest.mark.slow
def test_other_rewards_constraint_and_confirmation(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--reward", "pickscore + 0.5*clip", "--constraint", "clip >= reference - 1"]
    assert run(world, *given, "--also", "clip, pickscore", "--confirm", "4", "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["study"] == "b500-pickscore+0.5clip-seed0"
    assert answer["reward"] == "pickscore + 0.5*clip"
    assert [other["name"] for other in answer["others"]] == ["pickscore", "clip"]
    assert set(answer["evaluations"][0]["others"]) == {"pickscore", "clip"}
    assert set(answer["constraint"]) == {"text", "confidence", "probability"}
    assert answer["confirmation"]["images"] == 4
    assert "held-out images" in printed.err
    assert cli.main(["show", answer["study"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == answer
    assert cli.main(["show", answer["study"]]) == 0
    table = capsys.readouterr().out
    for part in ("clip at λ*", "clip >= reference - 1: holds at", "held out: 4"):
        assert part in table
    assert cli.main(["plot", answer["study"], "-o", "figure.svg"]) == 0
    drawn = (here / "figure.svg").read_text()
    for name in ("pickscore + 0.5*clip", "pickscore", "clip"):
        assert f"<!-- mean {name} -->" in drawn
    assert run(world, *given, "--confidence", "0.9") == 1
    assert "confidence was 0.95, is 0.9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "the following arguments are required: --anchor"),
        (["walk"], "invalid choice: 'walk'"),
        (["run", "--anchor", "b500", "--reward", "pickscore", "--budget", "x"], "invalid int"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_wrong_names_and_values_are_one_line_with_status_2(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        (["--anchor", "b50"], "no anchor 'b50' in"),
        (["--reward", "aesthetic"], "no reward 'aesthetic' in"),
        (["--config", "absent.toml"], "absent.toml: no such settings file"),
        (["--budget", "0"], "budget 0 given"),
        (["--bounds", "1", "0"], "bounds 1 0 given"),
        (["--batch-size", "0"], "batch size 0 given"),
        (["--images", "1"], "images 1 given, expected a number of at least 2"),
        (["--device", "gpu"], "device gpu given, expected one that there is, such as cpu, cuda"),
        (["--device", "cuda:99"], "device cuda:99 given, expected one that there is"),
        (["--seed", "99999999999999999999"], "seed 99999999999999999999 given, expected 0 to"),
        (["--seed", "-1"], "seed -1 given, expected 0 to"),
        (["--prompts", "absent.txt"], "absent.txt: cannot be read"),
        (["--reward", "pickscore + 2*hps"], "no reward 'hps' in"),
        (["--reward", "pickscore +"], "expected a name or a sum such as"),
        (["--also", "clip,clipp"], "no reward 'clipp' in"),
        (["--constraint", "clip > 1"], "constraint 'clip > 1' given, expected"),
        (["--constraint", "hps >= reference"], "no reward 'hps' in"),
        (["--constraint", "pickscore >= 1"], "is on what is optimised"),
        (["--confidence", "95"], "confidence 95 given, expected 0 < P < 1"),
        (["--confirm-prompts", "x.txt"], "but not --confirm N"),
        (["--confirm", "1"], "confirm 1 given, expected at least 2 images"),
        (["--confirm", "4", "--confirm-prompts", "absent.txt"], "absent.txt: cannot be read"),
    ):
        assert run(world, *more) == 2
        printed = capsys.readouterr()
        assert message in printed.err
        assert printed.out == ""
        assert "Traceback" not in printed.err


def test_other_problems_have_status_1_and_debug_shows_the_traceback(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", "absent"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: storage sqlite:///lamsearch-studies/studies.db does not exist")
    assert error.count("\n") == 1
    with pytest.raises(Exception, match="does not exist"):
        cli.main(["show", "absent", "--debug"])


def test_ctrl_c_says_how_to_resume(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamsearch.report.progress import SearchProgress

    def interrupt(self: SearchProgress, evaluation: object, images: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SearchProgress, "scored", interrupt)
        assert run(world) == 130
    error = capsys.readouterr().err
    assert "stopped; resume with: lamsearch run --anchor b500" in error
    assert run(world) == 0


@pytest.mark.slow
def test_a_moved_folder_is_shown_drawn_and_resumed(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(world, "--study", "s", "--json") == 0
    before = json.loads(capsys.readouterr().out)
    moved = here / "another folder"
    moved.mkdir()
    (here / "lamsearch-studies").rename(moved / "lamsearch-studies")
    monkeypatch.chdir(moved)
    assert cli.main(["show", "s", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == before
    assert cli.main(["plot", "s", "-o", "x.png"]) == 0
    assert imread("x.png").shape[0] > 700  # the images are drawn below the curve
    assert run(world, "--study", "s", "--budget", "5", "--json") == 0
    after = json.loads(capsys.readouterr().out)
    assert len(after["evaluations"]) == 5
    for kept, former in zip(after["evaluations"], before["evaluations"], strict=False):
        assert (kept["lam"], kept["images"]) == (former["lam"], former["images"])


@pytest.mark.slow
def test_study_names_may_hold_anything(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a [b] c: d.. 日本語"
    assert run(world, "--study", name) == 0
    assert f"study {name}" in capsys.readouterr().out
    assert cli.main(["plot", name, "-o", "x.png"]) == 0
    assert len(list((here / "lamsearch-studies").glob("*/*.png"))) == 16  # λs × images


@pytest.mark.slow
def test_an_unwritable_figure_is_one_line(
    world: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(world) == 0
    capsys.readouterr()
    for output in ("absent/figure.png", "figure.xyz"):
        assert cli.main(["plot", "b500-pickscore-seed0", "-o", output]) == 2
        assert f"cannot write {output}" in capsys.readouterr().err


@pytest.mark.slow
def test_list_shows_every_study_and_its_state(
    world: Path,
    here: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = "sqlite:///lamsearch-studies/studies.db"
    assert run(world, "--confirm", "4") == 0
    half = Study.create("half", storage)
    evaluation = begin(half, 1)
    assert evaluation is not None
    half.release(evaluation)
    Study.create("new", storage)
    optuna.create_study(study_name="other", storage=storage, direction="minimize")
    odd = optuna.create_study(study_name="words", storage=storage, direction="maximize")
    odd.optimize(lambda trial: float(len(trial.suggest_categorical("lam", ["a", "b"]))), n_trials=1)
    capsys.readouterr()
    assert cli.main(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["studies"]}
    # The confirmation belongs to its study.
    assert list(rows) == ["b500-pickscore-seed0", "half", "new", "other", "words"]
    done = rows["b500-pickscore-seed0"]
    assert (done["anchor"], done["reward"], done["evaluations"]) == ("b500", "pickscore", 4)
    assert 0 <= done["lam"] <= 1
    states = [row["state"] for row in rows.values()]
    assert states == ["idle", "interrupted", "empty", "foreign", "foreign"]
    assert cli.main(["show", "words"]) == 1
    assert "'words' has lam in trial 0, expected a number 'lam'" in capsys.readouterr().err
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["list"]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in rows)
    assert cli.main(["list", "--storage", "sqlite:///absent.db"]) == 1
    assert "absent.db does not exist" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"lamsearch {version('lamsearch')}\n"


def test_deprecations_inside_libraries_are_silent(here: Path) -> None:
    code = (
        "import sys, warnings; from lamsearch import cli; cli.main(sys.argv[1:]);"
        "warnings.warn_explicit('inside', FutureWarning, 'x.py', 1, module='torch.jit._script');"
        "warnings.warn_explicit('a reward', FutureWarning, 'y.py', 1, module='my_reward')"
    )
    arguments = [sys.executable, "-c", code, "plot", "study", "-o", "figure.xyz"]
    error = subprocess.run(arguments, capture_output=True, text=True, check=True).stderr
    assert "inside" not in error
    assert "a reward" in error


def test_spinning_is_shortened_for_small_models_on_the_cpu_only(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", environment := {})
    spin_less(world / "reference", device="cuda")
    spin_less(tmp_path / "not-local", device="cpu")
    assert environment == {}
    large = tmp_path / "large"
    large.mkdir()
    with (large / "model.safetensors").open("wb") as file:
        file.truncate(65_000_000)
    spin_less(large, device="cpu")
    assert environment == {}
    spin_less(world / "reference", device="cpu")
    assert environment == {"GOMP_SPINCOUNT": "1000"}
    environment.clear()
    environment["OMP_WAIT_POLICY"] = "ACTIVE"  # the user's word counts
    spin_less(world / "reference", device="cpu")
    spin_less()
    assert environment == {"OMP_WAIT_POLICY": "ACTIVE"}


def test_what_is_refused_leaves_nothing_behind(world: Path, here: Path) -> None:
    assert run(world, "--device", "gpu") == 2
    assert not (here / "lamsearch-studies").exists()


@pytest.mark.slow
def test_settings_that_the_pipeline_refuses_are_not_bound(
    world: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lamsearch.evaluation.images import ImageEvaluation

    def refuse(*_: object, **__: object) -> None:
        raise SettingsError("the pipeline takes no negative prompt")

    with monkeypatch.context() as patch:
        patch.setattr(ImageEvaluation, "__init__", refuse)
        assert run(world, "--seed", "7", "--study", "s") == 2
    assert run(world, "--seed", "8", "--study", "s") == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--alignment-cost", "3 weeks"], "alignment cost '3 weeks' given, expected GPU-hours"),
        (["--alignment-cost", "-1"], "alignment cost '-1' given, expected GPU-hours"),
        (["--price", "0"], "price 0 given, expected a number above 0"),
        (["--price", "nan"], "price nan given, expected a number above 0"),
        (["--price", "dear"], "argument --price: invalid float value: 'dear'"),
    ],
)
def test_bad_costs_are_one_line_with_status_2(
    here: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    try:
        status = cli.main(["advise", "s", *flags])
    except SystemExit as stopped:  # argparse's own
        status = int(str(stopped.code))
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
