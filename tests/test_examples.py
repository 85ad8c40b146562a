"""Every example runs."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


def test_search_anchor(capsys: pytest.CaptureFixture[str]) -> None:
    result = example("search_anchor.py").main(budget=3, images=4)
    assert f"λ* = {result.lam:.3f}" in capsys.readouterr().out
    assert len(result.evaluations) == 3


def test_search_own_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("search_own_evaluation.py")
    result = module.main(budget=8)
    truth = max(range(1001), key=lambda k: module.evaluate(k / 1000).mean()) / 1000
    assert result.lam == pytest.approx(truth, abs=0.03)


def test_make_anchor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = example("make_anchor.py").main(output=str(tmp_path / "anchor"), pairs=4, steps=2)
    assert "step 2: loss" in capsys.readouterr().out
    assert len(list(folder.glob("*.png"))) == 3


def test_benchmark_of_the_forward_share(capsys: pytest.CaptureFixture[str]) -> None:
    share = example("benchmarks/forward_share.py").main(budget=2, images=4)
    assert 0 < share < 1
    assert "forward passes" in capsys.readouterr().out


def test_benchmark_of_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("benchmarks/seeds.py")
    rows = module.main(seeds=1, budget=2, output="seeds.json")
    assert rows[0]["regret"] >= 0
    assert f"| λ* | {rows[0]['regret']:.2f} % |" in capsys.readouterr().out
    assert module.main(seeds=1, budget=2, output="seeds.json") == rows


def test_benchmark_of_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = example("benchmarks/images.py")
    monkeypatch.setattr(module, "BUDGETS", (180,))
    rows = module.main(seeds=2)
    assert [row["way"] for row in rows] == ["fixed", "rotating", "auto"]
    assert all(0 <= regret <= 100 for row in rows for regret in row["regret"])
    assert capsys.readouterr().out.count("| 180 | ") == 3
    assert json.loads(Path("images.json").read_text())["rows"] == rows


def test_the_miniature_world_can_be_rebuilt(tmp_path: Path) -> None:
    build = [sys.executable, str(EXAMPLES / "miniature" / "build.py"), "--smoke", "--output"]
    subprocess.run([*build, str(tmp_path)], check=True)
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
