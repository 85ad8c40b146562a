"""Shared fixtures: tiny real pipelines, built once.

The fixtures import what they need: the process that hands out the tests reads this file too, and
would wait for diffusers before it starts the others.
"""

from __future__ import annotations

import os

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

    from lamsearch.report.summary import Summary

# No timed assertion, and the same cases in every run.
settings.register_profile("lamsearch", deadline=None, derandomize=True)
settings.load_profile("lamsearch")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tensors this small are slower on two threads, and by far on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def shown() -> Callable[[Summary], str]:
    """What the terminal shows of an answer."""
    from rich.console import Console

    from lamsearch.report.table import summary_table

    def text(summary: Summary) -> str:
        console = Console(width=160)
        with console.capture() as capture:
            console.print(summary_table(summary))
        return capture.get()

    return text


@pytest.fixture
def sd15() -> StableDiffusionPipeline:
    import tiny_pipelines

    return tiny_pipelines.sd15()


@pytest.fixture
def sdxl() -> StableDiffusionXLPipeline:
    import tiny_pipelines

    return tiny_pipelines.sdxl()


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny_pipelines

    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lamsearch.toml with a tiny anchor, tiny rewards and a few prompts: real, but random."""
    import tiny_clip
    import tiny_pipelines

    folder = tmp_path_factory.mktemp("world")
    pipe = tiny_pipelines.sd15()
    pipe.save_pretrained(folder / "reference")
    tiny_pipelines.perturb(pipe.unet, seed=1, scale=0.05).save_pretrained(folder / "b500" / "unet")
    tiny_clip.save_clip(folder / "reward")
    tiny_clip.save_clip(folder / "clip", seed=1)
    (folder / "prompts.txt").write_text("a red three\nblue\nred blue\nblue red\n")
    (folder / "heldout.txt").write_text("a blue three\nred\nblue\n")
    (folder / "lamsearch.toml").write_text(WORLD)
    return folder


WORLD = """
description = "tiny random models"
[anchors.b500]
reference = "reference"
aligned = "b500"
beta = 500
[anchors.b500.sampling]
steps = 3
guidance_scale = 3.0
[rewards.pickscore]
model = "reward"
[rewards.clip]
model = "clip"
[prompts]
file = "prompts.txt"
heldout = "heldout.txt"
"""
