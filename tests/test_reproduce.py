"""The paper's experiments, in a short form: every table and figure comes out, and makes sense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from examples.miniature.recipe import Recipe
from examples.paper import cost, reproduce
from examples.paper.reward_hacking import percent_change


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [(72.98, 50.71, -30.5), (61.61, 47.13, -23.5), (50.04, 48.43, -3.2)],
)
def test_the_papers_table_3(before: float, after: float, change: float) -> None:
    assert round(percent_change(before, after), 1) == change


def test_the_papers_costs() -> None:
    """One alignment saves 1 − 1/N of a sweep, whatever the unit; the two units fit one GPU."""
    grid = cost.table(alignment=100.0, search=10.0, strengths=6)
    rows = {row[0]: row[1:] for row in grid.rows}
    assert rows["one alignment"] == ("100", "336", "188.7")
    assert rows["a sweep of 6"] == ("600", "2016", "1132.2")
    assert rows["saved, by 1 − 1/N"][0] == "83.3 %"
    assert rows["saved, the search included"][0] == "81.7 %"
    operations_per_second = cost.PAPER_EFLOP * 1e18 / (cost.PAPER_HOURS * 3600)
    assert 100e12 < operations_per_second < 312e12  # half of what an A100 does in bfloat16


@pytest.mark.slow
def test_every_table_and_figure_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("examples.paper.cost.TIMED_STEPS", 4)
    monkeypatch.setattr("examples.paper.reward_hacking.RECIPE", Recipe(reader_steps=60))
    strips = {name: lams[:2] for name, lams in reproduce.STRIPS.items()}
    monkeypatch.setattr(reproduce, "STRIPS", strips)
    monkeypatch.setattr(reproduce, "SEARCH_IMAGES", 8)
    short = {"images": 8, "betas": (500, 2000), "rewards": ("pickscore",), "budget": 2}
    text = reproduce.main("out", **short)
    assert (tmp_path / "out" / "README.md").read_text() == text
    named = set(re.findall(r"`([\w/*.-]+\.(?:png|md))`", text))
    assert len(named) >= 10
    for name in named:
        files = list((tmp_path / "out").glob(name))
        assert files, name
        for file in files:
            if file.suffix == ".png":
                with Image.open(file) as image:
                    assert len(image.convert("L").histogram()) == 256
                    assert len(image.getcolors(1 << 24) or []) > 10, name
    # Realigning a hacked anchor brings its images nearer to the healthy model's.
    changes = re.findall(r"\| β = 250 \| 0\.125 \| [\d.e-]+ \| (-[\d.]+) % \|", text)
    assert len(changes) == 2
    assert all(float(change) < -10 for change in changes)
    assert "| saved, by 1 − 1/N | 50.0 % |" in text
