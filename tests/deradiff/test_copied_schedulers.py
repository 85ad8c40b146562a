"""Pipelines that step a copy of their scheduler, as LTX-2 does for the sound of a video."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from torch import Tensor, nn

from deradiff import realign
from tiny_pipelines import SCHEDULE, TEXT_WIDTH, perturb

pytestmark = pytest.mark.slow

STEPS = 4


class PictureAndSound(DiffusionPipeline):
    """Denoises two samples, the second with a copy of the scheduler."""

    def __init__(self, unet: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)

    @torch.no_grad()
    def __call__(self, generator: Any = None) -> tuple[Tensor, Tensor]:
        self.scheduler.set_timesteps(STEPS)
        own, copied = self.scheduler, copy.deepcopy(self.scheduler)
        picture, sound = (
            torch.cat([torch.randn(1, 4, 8, 8, generator=each) for each in generator])
            for _ in range(2)
        )
        condition = torch.zeros(len(picture), 3, TEXT_WIDTH)
        for t in self.scheduler.timesteps:
            outputs = [
                self.unet(x, t, encoder_hidden_states=condition).sample for x in (picture, sound)
            ]
            picture = own.step(outputs[0], t, picture, return_dict=False)[0]
            sound = copied.step(outputs[1], t, sound, return_dict=False)[0]
        return picture, sound


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (11, 12)]


@pytest.mark.parametrize("clip_sample", [False, True], ids=["outputs mixed", "steps mixed"])
def test_ends_are_the_models_own_and_steps_are_counted_once(
    sd15: StableDiffusionPipeline, clip_sample: bool
) -> None:
    aligned = perturb(sd15.unet, seed=1)

    def pipe(unet: Any) -> PictureAndSound:
        return PictureAndSound(unet, DDIMScheduler(**SCHEDULE, clip_sample=clip_sample))

    ends = [pipe(unet)(generators()) for unet in (sd15.unet, aligned)]
    mixed = pipe(sd15.unet)
    with realign(mixed, aligned, 0.0) as realignment:
        for lam, end in zip((0.0, 1.0), ends, strict=True):
            realignment.lam = lam
            assert all(map(torch.equal, mixed(generators()), end))
        # So close to an end that both models run, and the mixture is that end to rounding.
        realignment.lam = 1.0 - 1e-12
        for found, expected in zip(mixed(generators()), ends[1], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        assert realignment.way == ("reverse steps mixed" if clip_sample else "model outputs mixed")
        assert realignment.step_index == STEPS
    assert type(mixed.scheduler) is DDIMScheduler


class Both(nn.Module):
    """A denoiser of picture and sound at once."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, sample: Tensor, sound: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        return self.scale * sample.sin(), self.scale * sound.cos()


class RenormalisedSound(DiffusionPipeline):
    """Its guidance is affine in the picture's prediction and not in the sound's."""

    def __init__(self, transformer: Any, scheduler: Any) -> None:
        super().__init__()
        self.register_modules(transformer=transformer, scheduler=scheduler)

    @torch.no_grad()
    def __call__(self, generator: Any = None) -> tuple[Tensor, Tensor]:
        self.scheduler.set_timesteps(STEPS)
        own, copied = self.scheduler, copy.deepcopy(self.scheduler)
        picture, sound = (torch.randn(1, 2, 4, 4, generator=generator) for _ in range(2))
        for t in self.scheduler.timesteps:
            outputs = self.transformer(picture, sound, t)
            picture = own.step(outputs[0], t, picture, return_dict=False)[0]
            louder = outputs[1] / outputs[1].norm()
            sound = copied.step(louder, t, sound, return_dict=False)[0]
        return picture, sound


def test_guidance_of_the_sound_is_measured_too() -> None:
    scheduler = DDIMScheduler(**SCHEDULE, clip_sample=False)
    pipe = RenormalisedSound(Both(1.0), scheduler)
    with realign(pipe, Both(0.5), 0.5) as realignment:
        pipe(torch.Generator().manual_seed(0))
        assert realignment.way == "guided, then mixed"
