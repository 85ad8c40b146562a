"""`lamsearch init`: what it writes loads, and runs; it asks on a terminal only."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lamsearch import cli
from lamsearch.config.settings import load_settings
from lamsearch.starting.models import Model, beta_in, find_models, is_lora
from lamsearch.starting.proposal import Proposal, ProposedAnchor, propose
from lamsearch.starting.text import settings_text


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny world's models and prompts, and no settings file."""
    folder = tmp_path / "here"
    shutil.copytree(world, folder, ignore=shutil.ignore_patterns("lamsearch.toml"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    return folder


def test_what_it_writes_is_the_world_and_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init"]) == 0
    said = capsys.readouterr().err
    assert "wrote lamsearch.toml: anchor b500" in said
    settings = load_settings(Path("lamsearch.toml"))
    anchor = settings.anchor("b500")
    assert anchor.reference == str(here / "reference")
    assert anchor.aligned == str(here / "b500")
    assert anchor.beta == 500
    assert settings.rewards.keys() == {"clip"}
    assert settings.prompts is not None
    assert (settings.prompts.file.name, settings.prompts.heldout) == (
        "prompts.txt",
        here / "heldout.txt",
    )
    (search,) = (line for line in said.splitlines() if line.startswith("search:"))
    words = search.split()[2:]
    words[words.index("--budget") + 1] = "2"
    assert cli.main([*words, "--images", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["anchor"] == "b500"


def test_the_bundled_world_is_found_whole(tmp_path: Path) -> None:
    bundled = Path(cli.__file__).parent / "miniature"
    output = tmp_path / "lamsearch.toml"
    assert cli.main(["init", str(bundled), "-o", str(output)]) == 0
    written, own = load_settings(output), load_settings(bundled / "lamsearch.toml")
    assert written.anchors.keys() == own.anchors.keys()
    for name, anchor in own.anchors.items():
        found = written.anchor(name)
        assert (found.reference, found.aligned, found.beta) == (
            anchor.reference,
            anchor.aligned,
            anchor.beta,
        )
    assert {name: r.model for name, r in written.rewards.items()} == {
        name: r.model for name, r in own.rewards.items()
    }


def test_comments_are_the_descriptions_of_the_keys(here: Path) -> None:
    assert cli.main(["init"]) == 0
    text = Path("lamsearch.toml").read_text()
    assert "# KL strength β at which `aligned` was aligned" in text
    assert "# Number of denoising steps per image." in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_file_that_is_there_is_never_overwritten(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("lamsearch.toml").write_text("mine")
    assert cli.main(["init"]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err
    assert Path("lamsearch.toml").read_text() == "mine"
    Path("link.toml").symlink_to("nowhere")
    assert cli.main(["init", "-o", "link.toml"]) == 2
    assert not Path("nowhere").exists()


def test_places_that_are_not_there_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["init", "absent"], ["init", "-o", "absent/lamsearch.toml"]):
        assert cli.main(words) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_an_empty_folder_gets_a_file_to_fill_in(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert cli.main(["init"]) == 0
    assert "no anchor found" in capsys.readouterr().err
    text = Path("lamsearch.toml").read_text()
    assert not load_settings(Path("lamsearch.toml")).anchors
    # With the comments taken off, the example is one that loads.
    anchor = text.partition("name them here.\n")[2].partition("\n\n")[0]
    Path("filled.toml").write_text(
        "\n".join(line.removeprefix("# ") for line in anchor.splitlines())
        .replace("#\n", "\n")
        .replace("PATH-OR-HUB-ID", "OWNER/ALIGNED")
    )
    assert load_settings(Path("filled.toml")).anchor("my-anchor").beta == 500


def test_a_lora_and_models_of_another_architecture(here: Path) -> None:
    save_file({"unet.mid.attn.lora_A.weight": torch.zeros(1)}, here / "style-beta-2k.safetensors")
    save_file({"model.layers.0.self_attn.lora_A.weight": torch.zeros(1)}, here / "llm.safetensors")
    save_file({"some.weight": torch.zeros(1)}, here / "whole.safetensors")
    other = here / "other"
    shutil.copytree(here / "b500", other)
    config = json.loads((other / "unet" / "config.json").read_text())
    (other / "unet" / "config.json").write_text(json.dumps({**config, "cross_attention_dim": 99}))
    assert cli.main(["init"]) == 0
    settings = load_settings(Path("lamsearch.toml"))
    assert settings.anchors.keys() == {"b500", "style-beta-2k"}
    assert settings.anchor("style-beta-2k").beta == 2000


@pytest.mark.parametrize(
    ("name", "beta"),
    [
        ("beta500", 500),
        ("b2000", 2000),
        ("sdxl-dpo-beta_2.5k", 2500),
        ("β=0.04", 0.04),
        ("Beta-5000-lora.safetensors", 5000),
        ("sd15", None),
        ("web500", None),
        ("b200m", None),
        ("b1-b2", None),
        ("beta0", None),
        ("alphabeta7", None),
    ],
)
def test_beta_in_a_name(name: str, beta: float | None) -> None:
    assert beta_in(name) == beta


def test_the_reference_is_asked_for_only_where_names_do_not_say_it() -> None:
    asked: list[list[str]] = []

    def choose(locations: list[str]) -> str:  # type: ignore[misc]
        asked.append(list(locations))
        return locations[-1]

    def ask_beta(location: str) -> None:
        asked.append([location])

    one, two = Model("a/one", "pipeline", "x"), Model("a/two", "pipeline", "x")
    aligned = Model("a/tuned", "denoiser", "x")
    found = propose([one, two, aligned], [], choose, ask_beta)  # type: ignore[arg-type]
    assert asked == [["a/one", "a/two"], ["a/tuned"]]
    assert [(a.reference, a.beta) for a in found.anchors] == [("a/two", None)]
    assert found.other_references == ("a/one",)
    asked.clear()
    base = Model("a/base", "pipeline", "x")
    tuned = Model("a/beta500", "pipeline", "x")
    found = propose([one, base, tuned], [], choose, ask_beta)  # type: ignore[arg-type]
    assert asked == []
    assert [(a.reference, a.aligned, a.beta) for a in found.anchors] == [
        ("a/base", "a/beta500", 500)
    ]


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_and_path_is_written_as_valid_toml(name: str, place: str) -> None:
    import tomllib

    try:
        (name + place).encode()
    except UnicodeEncodeError:  # a lone surrogate is no text of a file
        return
    anchor = ProposedAnchor(name, place, place, 500)
    text = settings_text(Proposal((anchor,), {}, None, None, (place,)), Path("/nowhere"))
    table = tomllib.loads(text)["anchors"][name]
    assert table["beta"] == 500


def test_damaged_files_are_no_models(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 20)
    (tmp_path / "b.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text("{")
    assert not is_lora(tmp_path / "a.safetensors")
    assert list(find_models(tmp_path)) == []


@pytest.mark.slow
def test_on_a_terminal_it_asks_for_beta(here: Path) -> None:
    (here / "b500").rename(here / "tuned")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lamsearch", "init"],
        stdin=follower,
        stderr=follower,
        env={**os.environ, "HF_HUB_CACHE": str(here / "no-cache")},
    )
    os.close(follower)
    seen, answers = "", ["many\n", "750\n"]
    with open(leader, "rb+", buffering=0) as terminal:
        while True:
            try:
                seen += terminal.read(1000).decode()
            except OSError:  # the process has ended
                break
            if answers and seen.count("[unknown]") == 3 - len(answers):
                terminal.write(answers.pop(0).encode())
    assert process.wait(60) == 0
    assert load_settings(Path("lamsearch.toml")).anchor("tuned").beta == 750
