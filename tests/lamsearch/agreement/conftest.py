"""A tiny world with a family of anchors, and an agreement in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import lamsearch
import tiny_pipelines

from .family import BETAS


@pytest.fixture(scope="module")
def family(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny world with three anchors: the weights move away from the reference as 1/β."""
    folder = tmp_path_factory.mktemp("family") / "world"
    shutil.copytree(world, folder)
    tables = []
    for name, beta in BETAS.items():
        unet = tiny_pipelines.perturb(tiny_pipelines.sd15().unet, seed=1, scale=20 / beta)
        unet.save_pretrained(folder / name / "unet")
        tables.append(
            f'[anchors.{name}]\nreference = "reference"\naligned = "{name}"\nbeta = {beta}\n'
            f"sampling = {{ steps = 3, guidance_scale = 3.0 }}\n"
        )
    text = (folder / "lamsearch.toml").read_text()
    start, end = text.index("[anchors.b500]"), text.index("[rewards.pickscore]")
    (folder / "lamsearch.toml").write_text(text[:start] + "\n".join(tables) + text[end:])
    return folder


@pytest.fixture
def agree(
    family: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., lamsearch.FamilyAgreement]:
    monkeypatch.chdir(tmp_path)

    def run(anchors: Sequence[str] = tuple(BETAS), **keywords: Any) -> lamsearch.FamilyAgreement:
        options = {"reward": ["pickscore", "clip"], "images": 4, **keywords}
        return lamsearch.agree(anchors, config=family / "lamsearch.toml", **options)

    return run
