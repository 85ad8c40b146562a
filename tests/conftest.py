"""Shared fixtures: tiny real pipelines, built once."""

from __future__ import annotations

import os

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from hypothesis import settings

import tiny_pipelines

# No timed assertion, and the same cases in every run.
settings.register_profile("lamsearch", deadline=None, derandomize=True)
settings.load_profile("lamsearch")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tensors this small are slower on two threads, and by far on a busy machine."""
    torch.set_num_threads(1)


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
