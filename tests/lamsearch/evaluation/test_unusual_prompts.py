"""Prompt files as people have them: empty lines, endless prompts, the same prompt twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from optuna.trial import TrialState
from PIL.Image import Image

from lamsearch.config.expressions import parse_objective
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import load_settings
from lamsearch.errors import PromptError
from lamsearch.evaluation.image_plan import PlannedImage, held_out_plan, image_plan
from lamsearch.evaluation.images import ImageEvaluation
from lamsearch.evaluation.loading import load_anchor
from lamsearch.rewards import load_panel
from lamsearch.study.records import Evaluation

LONG = "red blue three " * 667
"""10,005 characters."""


def scored(world: Path, plan: Sequence[PlannedImage]) -> tuple[list[float], list[bytes]]:
    """Return the scores of a plan's images at some λ, and the images."""
    settings = load_settings(world / "lamsearch.toml")
    anchor = settings.anchor("b500")
    seen: list[bytes] = []

    def keep(lam: float, ids: Sequence[int], images: Sequence[Image | None]) -> None:
        seen.extend(image.tobytes() for image in images if image)

    with ImageEvaluation(
        load_anchor(anchor, "cpu"),
        plan,
        load_panel(settings, parse_objective("pickscore")),
        sampling=anchor.sampling,
        batch_size=len(plan),
        on_images=keep,
    ) as evaluation:
        images = ((0, len(plan)),)
        begun = Evaluation(0, 0.4, TrialState.RUNNING, {}, 0.0, images=images)
        (batch,) = evaluation.batches(begun)
    return list(batch.scores), seen


def test_empty_lines_are_no_prompts(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("\n\n  \nred\n\t\n\u3000\nblue\n\n")
    assert read_prompts(file) == ["red", "blue"]


def test_an_endless_prompt_is_kept_whole_and_read_as_far_as_the_models_read(
    world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(LONG)
    (prompt,) = read_prompts(file)
    assert prompt == LONG.strip()
    cut = " ".join(LONG.split()[:100])
    plans = [[PlannedImage(0, text, 3), PlannedImage(1, "red", 4)] for text in (prompt, cut)]
    whole, short = (scored(world, plan) for plan in plans)
    np.testing.assert_allclose(whole[0], short[0], atol=1e-6)
    assert whole[1] == short[1]


def test_a_prompt_that_is_there_twice_gets_twice_as_many_images(
    world: Path, tmp_path: Path
) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("red\nblue\nred\n")
    prompts = read_prompts(file)
    plan = image_plan(prompts, 6, seed=0)
    assert sorted(image.prompt for image in plan) == ["blue"] * 2 + ["red"] * 4
    assert len({image.seed for image in plan}) == 6
    _, images = scored(world, plan)
    assert len(set(images)) == 6
    # To be held out, all of a prompt's lines are.
    held_out = held_out_plan(image_plan(["blue"], 2, seed=0), prompts, 3, seed=0)
    assert {image.prompt for image in held_out} == {"red"}


@pytest.mark.parametrize("text", ["", "\n\n", " \n\t\n"])
def test_a_file_of_empty_lines_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text(text)
    with pytest.raises(PromptError, match="no prompts in it, expected at least one"):
        read_prompts(file)
