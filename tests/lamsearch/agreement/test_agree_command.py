"""`lamsearch agree` from outside: its output, what searches quote of it, and what it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lamsearch
from deradiff import load_anchor
from lamsearch.agreement.config import AgreementConfig
from lamsearch.agreement.figures import FIGURES
from lamsearch.cli import main
from lamsearch.config.settings import load_settings
from lamsearch.errors import SettingsError
from lamsearch.evaluation.manifest import images_manifest
from lamsearch.keywords import AgreeKeywords
from lamsearch.report.quotes import SAMPLING, agreement_note
from lamsearch.report.summarize import summarize
from lamsearch.study.database import Study
from studies import finished

from .family import BETAS, STORAGE


@pytest.mark.slow
def test_command_line(
    family: Path, agree: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del agree  # for its working directory
    anchors = [word for name in BETAS for word in ("--anchor", name)]
    config = ["--config", str(family / "lamsearch.toml")]
    command = ["agree", *anchors, "--reward", "pickscore,clip", "--images", "4", *config]
    assert main([*command, "--json", "-o", "figures"]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [r["reward"] for r in out["rewards"]] == ["pickscore", "clip"]
    assert out["rewards"][0]["members"][0]["strength"] is None
    for name in FIGURES:
        with Image.open(tmp_path / "figures" / f"clip-{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5
        assert (tmp_path / "figures" / f"clip-{name}.svg").stat().st_size > 5000
    with (tmp_path / "figures" / "clip-pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["difference"]) for r in rows] == [
        e["difference"] for e in out["rewards"][1]["emulations"]
    ]
    with (tmp_path / "figures" / "clip-means.csv").open(newline="") as file:
        scratch = list(csv.reader(file))[1]
    members = out["rewards"][1]["members"]
    assert scratch == ["from scratch", *(f"{m['value']:.4f}" for m in members)]
    assert out["rewards"][0]["sentence"] in (tmp_path / "figures/agreement.md").read_text()
    assert main(["show", "agreement-seed0"]) == 0
    shown = capsys.readouterr().out
    assert "a realigned anchor's mean misses" in shown
    assert main(["list", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["studies"]
    assert row["name"] == "agreement-seed0"
    assert (row["evaluations"], row["state"]) == (10, "idle")
    assert main(["plot", "agreement-seed0", "-o", "again"]) == 0
    for file in (tmp_path / "figures").glob("*.[cjm][sd]*"):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    assert (tmp_path / "again" / "clip-lines.svg").exists()
    assert "wrote figures and tables to again" in capsys.readouterr().err


@pytest.mark.slow
def test_searches_of_the_reference_quote_the_last_agreement(family: Path, agree: Any) -> None:
    config = family / "lamsearch.toml"
    before = lamsearch.run("b500", "pickscore", 2, images=2, config=config)
    assert "agreement" not in {note.code for note in before.notes}
    found = agree(images=2)
    for name in BETAS:
        after = lamsearch.run(name, "pickscore", 2, images=2, config=config)
        (quote,) = [note.text for note in after.notes if note.code == "agreement"]
        assert quote == f"β/λ by 'agreement-seed0': {found.rewards[0].sentence}"
    second = lamsearch.run("b500", "clip", 2, images=2, config=config)
    (quote,) = [note.text for note in second.notes if note.code == "agreement"]
    assert quote == f"β/λ by 'agreement-seed0': {found.rewards[1].sentence}"
    other = lamsearch.run("b500", "2*clip", 2, images=2, config=config)
    assert "agreement" not in {note.code for note in other.notes}
    assert len(finished("agreement-seed0/b500", STORAGE)) == 3
    text = config.read_text()
    shorter = config.with_name("shorter.toml")
    shorter.write_text(text.replace("steps = 3", "steps = 2"))
    elsewhere = lamsearch.run("b500", "pickscore", 2, images=2, config=shorter, study="steps")
    (quote,) = [note.text for note in elsewhere.notes if note.code == "agreement"]
    assert "(sampled there with another setting of steps)" in quote
    study = Study.create("b500-pickscore-seed0", STORAGE)
    rescaled = Study.create("rescaled", STORAGE)
    rescaled.bind({**study.manifest, "reward_options": {"prompt": "another"}})
    rescaled.remember("reference", study.recall("reference"))
    assert agreement_note(rescaled, "pickscore") is None
    study.remember("reference", "another")
    assert "agreement" not in {note.code for note in summarize(study).notes}


@pytest.mark.slow
def test_quotes_compare_all_that_says_how_images_are_sampled(family: Path) -> None:
    settings = load_settings(family / "lamsearch.toml").anchor("b500")
    loaded = load_anchor(family / "reference", family / "b500", beta=500)
    sampling = settings.sampling.model_copy(update={"frames": 3, "aligned_steps": 2})
    settings = settings.model_copy(update={"sampling": sampling, "strength": 0.5})
    manifest = images_manifest(settings, loaded, [])
    others = {"anchor", "beta", "weights", "strength", "plan", "versions"}
    assert {*manifest} == {*SAMPLING} | others


@pytest.mark.parametrize(
    ("anchors", "keywords", "message"),
    [
        (["b500"], {}, "anchor b500 given, expected at least two"),
        (["b500", "b500"], {}, "expected at least two"),
        (["b500", "b600"], {}, "no anchor 'b600'"),
        (["b500", "b250"], {"reward": ["nonsense"]}, "no reward 'nonsense'"),
        (["b500", "b250"], {"reward": []}, "no reward given"),
        (["b500", "b250"], {"images": 1}, "images 1 given, expected at least 2"),
    ],
)
def test_wrong_arguments_are_one_line(
    agree: Any, anchors: list[str], keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message) as caught:
        agree(anchors, **keywords)
    assert "\n" not in str(caught.value)
    assert not Path("lamsearch-studies").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("beta = 250\n", "", "anchor b250 has no beta"),
        ("beta = 250\n", "beta = 500\n", "both have beta = 500"),
        ("beta = 250\nsampling = { steps = 3,", "beta = 250\nsampling = { steps = 4,", "sampling"),
    ],
)
def test_anchors_that_are_no_family_are_refused(
    family: Path, agree: Any, old: str, new: str, message: str
) -> None:
    text = (family / "lamsearch.toml").read_text()
    assert old in text
    changed = family / "changed.toml"
    changed.write_text(text.replace(old, new))
    with pytest.raises(SettingsError, match=message):
        lamsearch.agree(list(BETAS), ["clip"], config=changed)


def test_keywords_are_the_fields() -> None:
    places = {"config", "study", "storage", "progress"}
    assert {*AgreeKeywords.__annotations__} == {*AgreementConfig.model_fields} | places
    with pytest.raises(TypeError, match="unexpected keyword argument 'imagse'"):
        lamsearch.agree(["a", "b"], ["clip"], imagse=3)  # type: ignore[call-arg]


NOISY = """
import os
import numpy as np

class Noisy:
    def score(self, images, prompts):
        print("by print")
        os.write(1, b"by os.write\\n")
        return np.array([np.asarray(image).mean() for image in images])
"""


@pytest.mark.slow
def test_what_a_reward_prints_stays_out_of_the_answer(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    shutil.copytree(family, tmp_path / "world")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    (tmp_path / "world" / "noisy_reward.py").write_text(NOISY)
    settings = tmp_path / "world" / "lamsearch.toml"
    settings.write_text(f'{settings.read_text()}[rewards.noisy]\nclass = "noisy_reward:Noisy"\n')
    given = ["--anchor", "b500", "--anchor", "b1000", "--reward", "noisy", "--images", "2"]
    assert main(["agree", *given, "--config", str(settings), "--json"]) == 2
    assert "would run noisy_reward:Noisy" in capfd.readouterr().err
    assert main(["agree", *given, "--config", str(settings), "--json", "--allow-code"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out)["rewards"][0]["reward"] == "noisy"
    for how in ("print", "os.write"):
        assert f"by {how}\n" in printed.err
