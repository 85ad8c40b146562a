"""Where no mixture exists, as with learned variances far beyond 1, that λ fails, not the search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DiffusionPipeline, ImagePipelineOutput, UNet2DModel
from PIL.Image import Image

import deradiff
from lamsearch.bayesopt.config import SearchConfig
from lamsearch.bayesopt.policy import SearchPolicy
from lamsearch.config.settings import SamplingSettings
from lamsearch.errors import NoScoreError
from lamsearch.evaluation.image_plan import image_plan
from lamsearch.evaluation.images import ImageEvaluation
from lamsearch.loop import extrapolating_loop, search_loop
from lamsearch.report.summarize import conclude
from lamsearch.rewards import Panel, as_reward
from lamsearch.study.database import Study
from lamsearch.study.fixed_lams import FixedLams
from lamsearch.study.proposal import Budget
from tiny_pipelines import perturb

FAR = 400.0
"""The variances of the two models differ by a few per cent: at this λ no mixture exists."""


class Pixels(DiffusionPipeline):
    """Samples pixels by a denoiser that predicts their variance too."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(
        self, prompt: list[str], num_inference_steps: int, generator: Any, output_type: str
    ) -> ImagePipelineOutput:
        self.scheduler.set_timesteps(num_inference_steps)
        sample = torch.cat([torch.randn(1, 3, 8, 8, generator=g) for g in generator])
        for t in self.scheduler.timesteps:
            output = self.unet(sample, t).sample
            sample = self.scheduler.step(output, t, sample, generator=generator).prev_sample
        pixels = (sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
        return ImagePipelineOutput(images=pixels.numpy())


class Redness:
    scale = "levels"

    def score(self, images: Sequence[Image], prompts: Sequence[str]) -> np.ndarray:
        return np.array([np.asarray(image)[..., 0].mean() for image in images])


@pytest.fixture(scope="module")
def evaluation() -> Any:
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        out_channels=6,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    ).eval()
    pipe = Pixels(unet, DDPMScheduler(variance_type="learned_range"))
    pipe.set_progress_bar_config(disable=True)
    anchor = deradiff.Anchor(pipe, perturb(unet, seed=1, scale=0.05), beta=500.0)
    plan = image_plan(["a red three", "blue"], 4, seed=0)
    panel = Panel.of(as_reward(Redness()))
    sampling = SamplingSettings(steps=3)
    with ImageEvaluation(anchor, plan, panel, sampling=sampling, batch_size=2) as evaluation:
        yield evaluation


def test_a_lam_without_a_mixture_fails_with_its_reason(evaluation: Any) -> None:
    study = Study.create("s", None, (0.0, FAR))
    with pytest.raises(NoScoreError, match="no mixture exists there") as caught:
        search_loop(study, evaluation, policy=FixedLams([0.5, FAR], 4), budget=Budget())
    assert caught.value.lam == FAR  # what an agreement leaves out
    assert isinstance(caught.value.__cause__, deradiff.InvalidMixtureError)
    history = study.history()
    assert [each.lam for each in history.finished] == [0.5]
    assert [(e.lam, e.reason) for e in history.failed] == [(FAR, str(caught.value))]


def test_a_search_leaves_such_lams_out_and_ends_with_its_budget(evaluation: Any) -> None:
    config = SearchConfig(budget=8, bounds=(0.0, FAR))
    study = Study.create("s", None, config.bounds)
    policy, budget = SearchPolicy(config, lambda number: range(4)), Budget(8)
    extrapolating_loop(study, evaluation, policy=policy, budget=budget)
    history = study.history()
    failed = [each.lam for each in history.failed]
    assert FAR in failed
    assert len(failed) == len(set(failed))  # none is tried again
    assert len(history.finished) + len(failed) == 8
    summary = conclude(study, config, budget)
    assert summary.lam not in failed
    note = next(note for note in summary.notes if note.code == "failed")
    assert "the answer does not rest on them: λ = 400" in note.text
    assert note.text.count("no mixture exists there") == 1
    extrapolating_loop(study, evaluation, policy=policy, budget=budget)
    assert len(study.history().evaluations) == 8  # resumed: nothing is left to do
