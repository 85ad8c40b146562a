"""The search benchmark: its problems are what they say, its runs can be resumed."""

from __future__ import annotations

import json
import pickle
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.benchmarks import calibration, curves, records, regret, search, tasks

TINY = ["--families", "bump", "at_1", "--noise", "images", "--stderr", "0.1", "--seeds", "1"]
TINY += ["--budget", "6", "--output", "runs"]


@pytest.fixture(autouse=True)
def _in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def runs_in(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "regrets" in line]


@pytest.mark.slow
def test_a_run_is_stored_reported_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["ours-auto-matern", "paper", "grid", "golden"]
    search.main(["--methods", *methods, *TINY])
    text = capsys.readouterr().out
    assert "| golden (1 seeds) |" in text
    assert "| golden, n=6 (1 seeds) |" in text
    assert "ours-auto-matern, images: ours after 6 < 0.5 × peer's after 6" in text
    files = {path: path.read_text() for path in Path("runs").iterdir()}
    assert {path.name for path in files} == {f"{method}.own.jsonl" for method in methods}
    for path in files:
        rows = runs_in(path)
        assert [row["family"] for row in rows] == ["bump", "at_1"]
        assert all(len(row["regrets"]) == 3 and min(row["regrets"]) >= 0 for row in rows)
        assert all(max(row["regrets"]) <= 1 for row in rows)
    search.main(["--methods", *methods, *TINY])
    assert {path: path.read_text() for path in Path("runs").iterdir()} == files


def test_a_task_can_go_to_another_process() -> None:
    task = search.tasks_left("golden", search.parse(TINY))[0]
    there = pickle.loads(pickle.dumps(tasks.run))(pickle.loads(pickle.dumps(task)))
    assert there["regrets"] == tasks.run(task)["regrets"]


def test_a_torn_last_line_is_run_again() -> None:
    search.main(["--methods", "golden", *TINY])
    path = Path("runs/golden.own.jsonl")
    whole = runs_in(path)
    path.write_text(path.read_text()[:-20])
    search.main(["--methods", "golden", *TINY])
    stored = records.load(path, 6)
    assert len(stored) == 2
    assert [row["regrets"] for row in stored.values()] == [row["regrets"] for row in whole]


def test_our_rule_needs_only_the_stored_lams() -> None:
    search.main(["--methods", "golden", "grid", *TINY])
    search.main(["--methods", "golden", "grid", "--rule", "our-rbf", *TINY])
    own = runs_in(Path("runs/golden.own.jsonl"))
    answered = runs_in(Path("runs/golden.our-rbf.jsonl"))
    assert len(answered) == len(own) == 2
    assert len(runs_in(Path("runs/grid.our-rbf.jsonl"))) == 2
    assert [row["answers"] for row in answered] != [row["answers"] for row in own]


def test_our_methods_meet_the_prior_of_their_own_kernel_and_peers_none() -> None:
    options = search.parse(["--seeds", "1", "--stderr", "0.1"])
    met = {
        method: {task.key[0] for task in search.tasks_left(method, options)}
        for method in ("ours-auto-rbf", "ours-rotating-matern", "golden")
    }
    assert met["ours-auto-rbf"] == set(curves.FAMILIES) - {"prior_matern"}
    assert met["ours-rotating-matern"] == set(curves.FAMILIES) - {"prior_rbf"}
    assert met["golden"] == set(curves.FAMILIES) - {"prior_rbf", "prior_matern"}
    stored = {(family, "images", 0.1, 0): {"regrets": [0.1]} for family in curves.FAMILIES}
    assert {key[0] for key in regret.regrets(stored, 4, [("images", 0.1)])} == met["golden"]


def test_a_missing_ax_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    search.main(["--methods", "ax", *TINY])
    assert "pip install ax-platform" in capsys.readouterr().out


def test_slow_methods_keep_to_their_seeds() -> None:
    options = search.parse(["--families", "bump", "--noise", "images", "--stderr", "0.1"])
    limit = search.SEED_LIMITS["ax"]
    assert len(search.tasks_left("ax", options)) == limit < options.seeds


def test_a_difference_is_paired_and_its_interval_contains_the_truth() -> None:
    rng = np.random.default_rng(0)
    keys = [(family, "images", 0.1, seed) for family in ("bump", "gp") for seed in range(200)]
    luck = rng.normal(size=len(keys))  # shared, so that it cancels
    own = rng.normal(-0.02, 0.01, size=len(keys))
    mine = {k: {"regrets": [a + b]} for k, a, b in zip(keys, luck, own, strict=True)}
    peer = {k: {"regrets": [a]} for k, a in zip(keys[:350], luck, strict=False)}
    mean, half = regret.Comparison(4, 4, 1).interval(mine, peer, [("images", 0.1)])
    assert half < 3
    assert abs(mean + 20) < half


def test_stops_and_coverage_are_counted() -> None:
    found = [{"n": 5, "right": True}, {"n": 8, "right": False}, {}]
    stored = {
        ("gp", "images", 0.1, seed): {
            "stop": stop,
            "coverage": {"6": {"lam": seed < 1, "value": True, "lam_loss": seed / 100}},
        }
        for seed, stop in enumerate(found)
    }
    stored["prior_rbf", "images", 0.1, 0] = stored["gp", "images", 0.3, 0] = {"coverage": {}}
    place = ["gp", "kink"], [("images", 0.1)]
    assert calibration.stops(stored, *place) == (3, 2, 1, 6.5)
    assert calibration.coverage(stored, *place, n="6", truth="lam") == pytest.approx(
        (100 / 3,) * 2 + (3,)
    )
    assert calibration.coverage(stored, *place, n="6", truth="value") == (100, 0, 3)
    assert calibration.missed(stored, *place, n="6") == (2, 15, 20)


@pytest.mark.slow
def test_the_report_is_stored_with_its_sources(capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["ours-auto-matern", "ours-rotating-matern", "golden"]
    search.main(["--methods", *methods, *TINY])
    old = json.loads(Path("runs/golden.own.jsonl").read_text().splitlines()[-1])
    with Path("runs/golden.own.jsonl").open("a") as file:
        file.write(json.dumps(old | {"family": "prior"}) + "\n")
    speed = json.dumps({"seconds": {"ours-auto-matern": {"images": {"12": 0.02, "100": 0.2}}}})
    Path("runs/speed.json").write_text(speed)
    capsys.readouterr()
    search.main(["--report", "--full", "--summary", "summary.json", *TINY])
    text = Path("runs/report.md").read_text()
    assert capsys.readouterr().out.strip() in text
    for part in ("rotating-matern, n=6 (1 seeds)", "| 0.020 | 0.200 |", "rule: own", "torch 2."):
        assert part in text
    stored = json.loads(Path("summary.json").read_text())
    assert stored["commands"] == [
        f"python -m examples.benchmarks.search {shlex.join(['--methods', *methods, *TINY])}"
    ]
    by_method = {row["method"]: row for row in stored["regret"]}
    mean = np.mean([row["regrets"] for row in runs_in(Path("runs/golden.own.jsonl"))[:2]], axis=0)
    assert by_method["golden"]["mean"] == pytest.approx(1000 * mean, abs=1e-3)
    assert by_method["golden"]["seeds"] == 1
    assert by_method["golden"]["error"] == [None] * 3
    assert {row["ours"] for row in stored["goals"]} == set(methods[:2])
    speed_row = {"method": "ours-auto-matern", "data": "images", "12": 0.02, "100": 0.2}
    assert stored["seconds"] == [speed_row]
    assert {row["runs"] for row in stored["stops"] if row["family"] == "at_1"} == {1}


def test_speed_is_measured_and_stored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "SPEED_AT", (5,))
    monkeypatch.setattr(search, "OURS", {"ours-auto-matern": search.OURS["ours-auto-matern"]})
    search.main(["--speed", "--output", "runs"])
    table = capsys.readouterr().out
    seconds = search.load_speed(Path("runs"))["ours-auto-matern"]
    assert list(seconds) == ["images", "missing", "numbers"]
    for kind, row in seconds.items():
        assert f"| ours-auto-matern, {kind} | 0." in table
        assert row["5"] > 0
