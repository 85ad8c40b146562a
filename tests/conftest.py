"""Shared fixtures: tiny real pipelines, built once."""

from __future__ import annotations

import os

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import settings
from rich.console import Console

import tiny_clip
import tiny_pipelines
from lamsearch.report.summary import Summary
from lamsearch.report.table import summary_table

# No timed assertion, and the same cases in every run.
settings.register_profile("lamsearch", deadline=None, derandomize=True)
settings.load_profile("lamsearch")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tensors this small are slower on two threads, and by far on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def shown() -> Callable[[Summary], str]:
    """What the terminal shows of an answer."""

    def text(summary: Summary) -> str:
        console = Console(width=160)
        with console.capture() as capture:
            console.print(summary_table(summary))
        return capture.get()

    return text


@pytest.fixture
def sd15() -> StableDiffusionPipeline:
    return tiny_pipelines.sd15()


@pytest.fixture
def sdxl() -> StableDiffusionXLPipeline:
    return tiny_pipelines.sdxl()


@pytest.fixture(scope="session")
def sd15_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd15")
    tiny_pipelines.sd15().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lamsearch.toml with a tiny anchor, tiny rewards and a few prompts: real, but random."""
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
