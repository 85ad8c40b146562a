"""Settings, prompt files and expressions that are damaged: read, or one line of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing import mutations
from lamsearch.config.expressions import parse_constraint, parse_objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import load_settings
from lamsearch.errors import PromptError, SettingsError

INPUTS = 10_000
LONGEST_LINE = 1500

TOML = """description = "some models"
[anchors.b500]
reference = "models"
aligned = { unet = "models", "transformer 2" = './models' }
beta = 500.0
strength = 0.5
[anchors.b500.sampling]
scheduler = "DDIMScheduler"
steps = 20
height = 64
width = 64
guidance_scale = 3.0
scheduler_config = { timestep_spacing = "trailing", clip = [1, 2] }
[rewards.pickscore]
model = "models"
batch_size = 4
[rewards."mine too"]
class = "module:Reward"
weights = [1, 2.5, true]
[rewards.server]
type = "http"
url = "http://127.0.0.1:8000/x"
headers = { Authorization = "KEY" }
[prompts]
file = "prompts.txt"
"""
PROMPTS = {
    ".txt": ["a red three\nblue\n\n  red blue \n"],
    ".json": ['["a red three", {"prompt": "blue"}, {"Caption": "x", "seed": 3}]'],
    ".jsonl": ['"a red three"\n{"prompt": "blue", "n": [1, {"a": null}]}\n{"text": "\\u00e9"}\n'],
    ".csv": ['id,prompt\n1,"a red, three"\n2,"a ""blue"" one"\n3,x\n'],
    ".tsv": ['id\tcaption\n1\ta red\n2\t"a ""blue"" one"\n'],
}
OBJECTIVES = ["pickscore", "pickscore + 0.3*clip", "2*hps - .5e-2*clip", "-a b + 1*[c]", "a + a"]
CONSTRAINTS = ["clip >= -1% of reference", "clip ≥ reference - 0.01", "a b >= 0.35", "c>=reference"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    (tmp_path / "prompts.txt").write_text("a\n")
    return tmp_path


def require_one_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) <= LONGEST_LINE


def test_settings(folder: Path) -> None:
    file = folder / "lamsearch.toml"
    file.write_text(TOML)
    assert load_settings(file).anchor("b500").sampling.steps == 20
    read = 0
    for text in mutations([TOML], INPUTS):
        file.write_text(text)
        try:
            load_settings(file)
        except SettingsError as error:
            require_one_line(error)
        else:
            read += 1
    assert 0 < read < INPUTS


@pytest.mark.parametrize("suffix", PROMPTS)
def test_prompt_files(folder: Path, suffix: str) -> None:
    file = folder / f"x{suffix}"
    read = 0
    for text in mutations(PROMPTS[suffix], INPUTS // len(PROMPTS)):
        file.write_text(text, newline="")
        try:
            prompts = read_prompts(file)
        except PromptError as error:
            require_one_line(error)
        else:
            read += 1
            assert all(prompt.strip() == prompt != "" and "\0" not in prompt for prompt in prompts)
    assert read > 0


def test_objectives() -> None:
    known = ["pickscore", "clip", "a b", "[c]", "", "a*", "$"]
    for text in mutations(OBJECTIVES, INPUTS):
        try:
            found = parse_objective(text, known)
        except SettingsError as error:
            require_one_line(error)
        else:
            assert parse_objective(found.text, known).weights == found.weights


def test_constraints() -> None:
    for text in mutations(CONSTRAINTS, INPUTS):
        try:
            found = parse_constraint(text)
        except SettingsError as error:
            require_one_line(error)
        else:
            assert parse_constraint(found.text) == found
