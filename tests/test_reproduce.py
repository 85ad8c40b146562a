"""The paper's experiments, in a short form: every table and figure comes out, and makes sense."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import lamsearch
from examples.miniature.recipe import Recipe
from examples.paper import reproduce

pytestmark = pytest.mark.slow


def test_every_table_and_figure_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("examples.paper.cost.TIMED_STEPS", 4)
    monkeypatch.setattr("examples.paper.reward_hacking.RECIPE", Recipe(reader_steps=60))
    strips = {name: lams[:2] for name, lams in reproduce.STRIPS.items()}
    monkeypatch.setattr(reproduce, "STRIPS", strips)
    monkeypatch.setattr(lamsearch, "run", partial(lamsearch.run, images=8))
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
