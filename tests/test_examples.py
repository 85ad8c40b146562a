"""Every example runs."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from examples.benchmarks import (
    busy,
    forward_share,
    images,
    lora_strength,
    rounding,
    seeds,
    startup,
    votes,
)
from examples.miniature import build
from lamsearch.config.prompt_files import read_prompts
from lamsearch.evaluation.image_plan import image_plan

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, EXAMPLES / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_search_anchor(capsys: pytest.CaptureFixture[str]) -> None:
    result = example("search_anchor.py").main(budget=3, images=4)
    assert f"λ* = {result.lam:.3f}" in capsys.readouterr().out
    assert len(result.evaluations) == 3


def test_search_own_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("search_own_evaluation.py")
    result = module.main(budget=8)
    truth = max(range(1001), key=lambda k: module.evaluate(k / 1000).mean()) / 1000
    assert result.lam == pytest.approx(truth, abs=0.03)


@pytest.mark.slow
def test_make_anchor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = example("make_anchor.py").main(output=str(tmp_path / "anchor"), pairs=4, steps=2)
    assert "step 2: loss" in capsys.readouterr().out
    assert len(list(folder.glob("*.png"))) == 3


@pytest.mark.slow
def test_benchmark_of_the_forward_share(capsys: pytest.CaptureFixture[str]) -> None:
    share = forward_share.main(budget=2, images=4)
    assert 0 < share < 1
    assert "forward passes" in capsys.readouterr().out


@pytest.mark.slow
def test_benchmark_of_the_strength_of_a_lora(capsys: pytest.CaptureFixture[str]) -> None:
    """At λ = 1 merged weights are the mixture; at λ = 2 they are not."""
    result = lora_strength.main(images=4, anchors=["beta500"], lams=[1.0, 2.0], output="out.json")
    assert json.loads(Path("out.json").read_text())["images"] == 4
    one, two = result["rows"]
    assert (one["difference"], one["distance"]) == (0, 0)
    assert two["distance"] > 0.001
    assert one["reference_distance"] > 0
    assert lora_strength.markdown(result) in capsys.readouterr().out


def test_the_stored_table_of_the_strength_of_a_lora_is_in_the_docs() -> None:
    stored = json.loads((EXAMPLES / "benchmarks/results/lora_strength.json").read_text())
    page = (EXAMPLES.parent / "docs/explanation/lora-strength.md").read_text(encoding="utf-8")
    assert lora_strength.markdown(stored) in page
    assert stored["cpu_seconds"] <= 600


@pytest.mark.slow
def test_benchmark_of_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    rows = seeds.main(seeds=1, budget=2, output="seeds.json")
    assert rows[0]["regret"] >= 0
    assert f"| λ* | {rows[0]['regret']:.2f} % |" in capsys.readouterr().out
    assert seeds.main(seeds=1, budget=2, output="seeds.json") == rows
    assert seeds.mean_text([1.0, 2.0, 3.0]) == "2.00 ± 0.58 %"


@pytest.mark.slow
def test_benchmark_of_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(images, "BUDGETS", (180,))
    rows = images.main(seeds=2)
    assert [row["way"] for row in rows] == ["fixed", "rotating", "auto"]
    assert all(0 <= regret <= 100 for row in rows for regret in row["regret"])
    assert capsys.readouterr().out.count("| 180 | ") == 3
    assert json.loads(Path("images.json").read_text())["rows"] == rows
    monkeypatch.delattr(images, "run_study")  # everything is stored
    assert images.main(seeds=2) == rows


def test_simulated_studies_use_the_prompts_of_real_ones() -> None:
    prompts = read_prompts(EXAMPLES.parent / "lamsearch" / "miniature" / "prompts.txt")
    assert len(prompts) == images.PROMPTS
    stored = images.stored_images(300, seed=5)
    # The stored images go through the prompts in the order of the file, again and again.
    used = [prompts[number % images.PROMPTS] for number in stored]
    assert used == [image.prompt for image in image_plan(prompts, 300, 5)]
    assert np.bincount(stored // images.PROMPTS).min() > 30


def test_benchmark_of_rounding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounding, "METHODS", ("ours-rotating-matern",))
    small = {"budget": 6, "families": ["miniature"]}
    rows = rounding.main(seeds=1, **small)
    assert [row["n"] for row in rows] == [6] * 3
    assert all(math.isnan(row["error"]) and row["largest"] < 1 for row in rows)
    assert "1 seeds" in capsys.readouterr().out
    stored = json.loads(Path("rounding.json").read_text())["rows"]
    assert [row["error"] for row in stored] == [None] * 3
    monkeypatch.delattr(rounding, "compare")  # everything is stored
    assert [row["rounded"] for row in rounding.main(seeds=1, **small)] == [
        row["rounded"] for row in rows
    ]


@pytest.mark.slow
def test_benchmark_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert startup.command_seconds(startup.COMMANDS["--version"], tmp_path) > 0
    with pytest.raises(SystemExit, match="ended with 2: lamsearch: error"):
        startup.command_seconds(startup.Command(["run", "--nonsense"]), tmp_path)
    assert startup.first_image_seconds(tmp_path) > 0
    monkeypatch.setattr(startup, "SEARCH", ("run", "--nonsense"))
    with pytest.raises(SystemExit, match="without an image"):
        startup.first_image_seconds(tmp_path)


ANSWER_OF_A_SEARCH = """
import json, os, sys
from lamsearch.cli import build_parser
options = build_parser(sys.argv[1:]).parse_args(sys.argv[1:])
assert options.json and (options.budget, options.images) == (1, 2)
print(json.dumps({"seconds": float(os.environ["OMP_NUM_THREADS"])}))
"""
"""Reads the flags as `lamsearch run` does and answers at once; `test_cli` has the real answer."""


def test_benchmark_of_a_busy_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busy, "SETTINGS", {"two threads": {"OMP_NUM_THREADS": "2"}})
    monkeypatch.setattr(busy, "PROGRAM", (sys.executable, "-c", ANSWER_OF_A_SEARCH))
    seconds = busy.main(repetitions=1, budget=1, images=2)["seconds"]
    assert seconds == {"two threads": {"alone": [2.0], "busy": [2.0]}}
    assert "| two threads | 2.0 | 2.0 | 1.0 |" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The configuration file of this scheduler:FutureWarning")
def test_the_miniature_world_can_be_rebuilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"pairs": 16, "pool": 8, "pool_parts": 2, "curve_points": 2, "curve_images": 4}
    smoke = build.smoke
    monkeypatch.setattr(build, "smoke", lambda recipe: dataclasses.replace(smoke(recipe), **few))
    build.main(["--smoke", "--output", str(tmp_path)])
    built, bundled = (
        sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*"))
        for folder in (tmp_path / "world", EXAMPLES.parent / "lamsearch" / "miniature")
    )
    # The smoke build has fewer anchors, but every kind of file that the bundled world has.
    assert set(built) <= set(bundled)
    assert {Path(file).name for file in built} == {Path(file).name for file in bundled}


def test_optuna_script(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("optuna_script.py")
    study = module.main(trials=4)
    lams = [trial.params["lam"] for trial in study.trials]
    assert len(set(lams)) == len(lams) == len(module.GRID) + 4
    answer = module.answer(study)
    assert answer.lam == pytest.approx((1 / 2.4) ** 0.5, abs=0.05)
    assert f"λ* = {answer.lam:.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_benchmark_of_votes(capsys: pytest.CaptureFixture[str]) -> None:
    found = votes.main(runs=2, votes=2)
    rows = [line for line in capsys.readouterr().out.splitlines() if " of 2 |" in line]
    assert len(found) == len(rows) == 4
    assert found["telling", 0.0] == [votes.simulate(seed, 2) for seed in range(2)]
