"""A small stored search with images, hostile texts included, and its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lamsearch
from lamsearch.study.database import Study
from lamsearch.study.gallery import Gallery
from lamsearch.study.manifest import COMMAND_FACT, KEPT_FACT

IMAGES = 40
HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
PROMPTS = ["a red seven", HOSTILE, "{{ 7 * 7 }} & <b>bold</b>"]


def scores(lam: float) -> dict[str, np.ndarray[Any, Any]]:
    """A curve with its maximum at 0.6, and a guard that falls."""
    noise = np.random.default_rng(int(1000 * lam)).normal(size=IMAGES)
    common = np.random.default_rng(1).normal(size=IMAGES)
    score = 0.2 + 0.05 * common - 0.1 * (lam - 0.6) ** 2 + 0.002 * noise
    return {"score": score, "<i>guard</i>": 0.4 + 0.01 * common - 0.02 * lam}


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Name and storage of a search with three kept images per λ."""
    from PIL import Image

    name = "an <em>odd<b> & name"
    storage = f"sqlite:///{tmp_path_factory.mktemp('report')}/studies.db"
    summary = lamsearch.search(scores, beta=500, budget=6, study=name, storage=storage)
    study = Study.create(name, storage)
    study.remember(KEPT_FACT, PROMPTS)
    study.remember(COMMAND_FACT, ["lamsearch", "run", "--reward", "a b", "--also", HOSTILE])
    gallery = Gallery(name, storage, len(PROMPTS))
    for evaluation in summary.evaluations:
        shade = round(255 * evaluation.lam)
        pictures = [Image.new("RGB", (40, 32), (shade, 60 * i, 90)) for i in range(len(PROMPTS))]
        gallery.keep(evaluation.lam, range(len(PROMPTS)), pictures)
    return name, storage


@pytest.fixture(scope="session")
def page_file(stored: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lamsearch.report.study_page import study_page

    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(study_page(Study.open(*stored)), encoding="utf-8")
    return file
