"""Shared fixtures: tiny real pipelines, built once.

The fixtures import what they need: the process that hands out the tests reads this file too, and
would wait for diffusers before it starts the others.
"""

from __future__ import annotations

import os

# Before huggingface_hub is imported, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Before torch is, in this process and those it starts: tensors this small are slower on two
# threads, and by far on a busy machine.
os.environ["OMP_NUM_THREADS"] = "1"

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
    from playwright.sync_api import Browser

    from lamsearch.report.summary import Summary

# No timed assertion, and the same cases in every run.
settings.register_profile("lamsearch", deadline=None, derandomize=True)
settings.load_profile("lamsearch")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take hours, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="takes long: only with --long"))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    import postgres

    pytest.importorskip("psycopg")
    if postgres.programs() is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt install postgresql)")
    with postgres.server() as url:
        yield url


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of a new, empty database of the server."""
    import psycopg

    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres_server.rpartition('/')[0]}/{name}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    import browsers

    playwright = pytest.importorskip("playwright.sync_api")
    path = browsers.program()
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


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
