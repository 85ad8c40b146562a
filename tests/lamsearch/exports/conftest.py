"""Studies of tiny real models, run once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lamsearch
import tiny_pipelines
from lamsearch.config.prompt_files import read_prompts
from lamsearch.config.settings import Settings, load_settings
from lamsearch.evaluation.image_plan import PlannedImage, image_plan
from lamsearch.report.summary import Summary
from lamsearch.study.gallery import Gallery

IMAGES = 4


@dataclass(frozen=True)
class TinyStudy:
    """A study with its settings file and its database."""

    name: str
    config: Path
    storage: str
    summary: Summary

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    @property
    def plan(self) -> tuple[PlannedImage, ...]:
        prompts = read_prompts(self.settings.require_prompts().file)
        return image_plan(prompts, IMAGES, 0)

    def kept(self, lam: float) -> list[Path]:
        """The images that the search kept at λ."""
        files = Gallery(self.name, self.storage).at(lam)
        return [file for file in files if file is not None]

    def arguments(self, *more: str) -> list[str]:
        return [*more, "--config", str(self.config), "--storage", self.storage]


def run(folder: Path, config: Path, anchor: str) -> TinyStudy:
    storage = f"sqlite:///{folder}/studies.db"
    summary = lamsearch.run(
        anchor, "pickscore", 4, images=IMAGES, config=config, storage=storage, study=anchor
    )
    return TinyStudy(anchor, config, storage, summary)


@pytest.fixture(scope="session")
def study(world: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    return run(tmp_path_factory.mktemp("study"), world / "lamsearch.toml", "b500")


@pytest.fixture(scope="session")
def lora_study(world: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyStudy:
    """A study of a LoRA anchor, with a strength and a scale that are not exact in binary."""
    folder = tmp_path_factory.mktemp("lora-study")
    generator = torch.Generator().manual_seed(7)
    state = {}
    for name, module in tiny_pipelines.sd15().unet.named_modules():
        if name.endswith(("to_q", "to_v", "to_out.0")):
            out, inside = module.weight.shape
            state[f"unet.{name}.lora_A.weight"] = torch.randn(3, inside, generator=generator)
            state[f"unet.{name}.lora_B.weight"] = torch.randn(out, 3, generator=generator)
            state[f"unet.{name}.alpha"] = torch.tensor(0.7)
    save_file(state, folder / "lora.safetensors")
    text = (world / "lamsearch.toml").read_text().replace('"b500"', f'"{folder}/lora.safetensors"')
    text = text.replace("[anchors.b500]", "[anchors.b500]\nstrength = 0.9")
    for name in ("reference", "reward", "clip", "prompts.txt", "heldout.txt"):
        text = text.replace(f'"{name}"', f'"{world}/{name}"')
    (folder / "lamsearch.toml").write_text(text)
    return run(folder, folder / "lamsearch.toml", "b500")


@pytest.fixture(params=["denoiser", "lora"])
def any_study(request: pytest.FixtureRequest) -> TinyStudy:
    found: TinyStudy = request.getfixturevalue(
        "study" if request.param == "denoiser" else "lora_study"
    )
    return found


@pytest.fixture
def heard() -> tuple[list[str], Callable[[str], None]]:
    said: list[str] = []
    return said, said.append
