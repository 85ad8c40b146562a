"""The probe: what it measures, also of pipelines and schedulers that nobody knows yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    IPNDMScheduler,
    PNDMScheduler,
    SASolverScheduler,
    StableDiffusionPipeline,
)
from torch import Tensor

from deradiff import InexactMixtureError, realign
from deradiff.denoisers import denoiser_names
from deradiff.probe import Affinity, Effect
from tiny_pipelines import SCHEDULE, perturb

PROMPTS = ["a red three", "a blue seven"]


def generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def effect(pipe: Any, aligned: Any, **kwargs: Any) -> Effect:
    with realign(pipe, aligned) as realignment:
        arguments = {"generator": generators(), "num_inference_steps": 4, **kwargs}
        return realignment.effects(PROMPTS, **arguments)[0]


def affinity(pipe: Any, aligned: Any, **kwargs: Any) -> Affinity:
    with realign(pipe, aligned) as realignment:
        arguments = {"generator": generators(), "num_inference_steps": 4, **kwargs}
        return realignment.affinity(PROMPTS, **arguments)


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: DEISMultistepScheduler(**SCHEDULE | {"steps_offset": 0}, use_karras_sigmas=True),
        lambda: SASolverScheduler(**SCHEDULE, use_karras_sigmas=True),
        lambda: PNDMScheduler(**SCHEDULE, skip_prk_steps=True, timestep_spacing="linspace"),
        lambda: PNDMScheduler(**SCHEDULE, skip_prk_steps=False),
        lambda: IPNDMScheduler(),
    ],
)
def test_first_steps_that_ignore_the_output_hide_no_effect(
    sd15: StableDiffusionPipeline, make: Callable[[], Any]
) -> None:
    sd15.scheduler = make()
    aligned = perturb(sd15.unet, seed=1)
    found = effect(sd15, aligned)
    assert (found.found, found.passes) == (True, 2)
    assert not effect(sd15, perturb(sd15.unet, seed=1, scale=0.0)).found
    assert affinity(sd15, aligned).way == "model outputs mixed"


class Renormalised(StableDiffusionPipeline):
    """An unknown pipeline, whose guidance keeps the norm of the conditional prediction."""

    def progress_bar(self, *args: Any, **kwargs: Any) -> Any:
        self.scheduler.scale_model_input = lambda sample, t: sample
        step, norm = self.scheduler.step, torch.linalg.vector_norm

        def renormalised(output: Tensor, t: Any, sample: Tensor, **kw: Any) -> Any:
            return step(output / norm(output, dim=1, keepdim=True), t, sample, **kw)

        self.scheduler.step = renormalised
        return super().progress_bar(*args, **kwargs)


def test_whether_guidance_is_affine_does_not_depend_on_the_size_of_the_effect(
    sd15: StableDiffusionPipeline,
) -> None:
    aligned = perturb(sd15.unet, seed=1, scale=1e-5)
    sd15.scheduler = EulerDiscreteScheduler(**SCHEDULE)
    found = affinity(sd15, aligned)
    assert (found.of_guidance, found.of_steps, found.passes) == (True, True, 1)
    pipe = Renormalised(**sd15.components, requires_safety_checker=False)
    assert not affinity(pipe, aligned).of_guidance


def test_guidance_that_bends_late_is_found(sd15: StableDiffusionPipeline) -> None:
    class Late(StableDiffusionPipeline):
        """Clamps the guided prediction in the last step."""

        def progress_bar(self, *args: Any, **kwargs: Any) -> Any:
            step, last = self.scheduler.step, self.scheduler.timesteps[-1]

            def clamped(output: Tensor, t: Any, sample: Tensor, **kw: Any) -> Any:
                return step(output.clamp(-1, 1) if t == last else output, t, sample, **kw)

            self.scheduler.step = clamped
            return super().progress_bar(*args, **kwargs)

    pipe = Late(**sd15.components, requires_safety_checker=False)
    assert not affinity(pipe, perturb(sd15.unet, seed=1)).of_guidance


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_float32(
    sd15: StableDiffusionPipeline, dtype: torch.dtype
) -> None:
    pipe = sd15.to(dtype)
    aligned = perturb(pipe.unet, seed=1, scale=0.05)
    assert affinity(pipe, aligned).way == "model outputs mixed"
    assert affinity(pipe, aligned, guidance_rescale=0.7).way == "guided, then mixed"


class OneNoiseForAll(EulerDiscreteScheduler):
    """Draws the batch's noise from the first image's generator."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **kwargs: Any) -> Any:
        output = super().step(model_output, timestep, sample, **kwargs)
        generator = kwargs.get("generator")
        first = generator[0] if isinstance(generator, list) else generator
        noise = torch.randn(sample.shape, generator=first)
        if isinstance(output, tuple):
            return (output[0] + noise, *output[1:])
        output.prev_sample = output.prev_sample + noise
        return output


class Disobedient(EulerDiscreteScheduler):
    """Draws noise from the global random state."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, **kwargs: Any) -> Any:
        output = super().step(model_output, timestep, sample, **kwargs)
        noise = torch.randn_like(sample)
        if isinstance(output, tuple):
            return (output[0] + noise, *output[1:])
        output.prev_sample = output.prev_sample + noise
        return output


@pytest.mark.parametrize("scheduler", [Disobedient, OneNoiseForAll])
def test_noise_that_ignores_the_images_generators_is_refused(
    sd15: StableDiffusionPipeline, scheduler: Any
) -> None:
    sd15.scheduler = scheduler(**SCHEDULE)
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        with pytest.raises(InexactMixtureError, match=f"{scheduler.__name__} draws noise"):
            sd15(PROMPTS, generator=generators(), num_inference_steps=2, output_type="latent")
        # Without generators nobody has asked for reproducible noise.
        sd15(PROMPTS, num_inference_steps=2, output_type="latent")


def test_noise_seeds_and_generators_reach_schedulers_that_pipelines_forget(
    sd15: StableDiffusionPipeline,
) -> None:
    sd15.scheduler = DPMSolverMultistepScheduler(**SCHEDULE, algorithm_type="sde-dpmsolver++")
    with realign(sd15, perturb(sd15.unet, seed=1), 0.5):
        drawn = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            both = sd15(
                PROMPTS, generator=generators(), num_inference_steps=3, output_type="latent"
            ).images
            drawn.append(both)
        assert torch.equal(*drawn)
        alone = sd15(
            PROMPTS[1:], generator=generators()[1:], num_inference_steps=3, output_type="latent"
        ).images
    torch.testing.assert_close(both[1:], alone, rtol=1e-4, atol=1e-4)


def test_a_probe_changes_nothing(sd15: StableDiffusionPipeline) -> None:
    draws = generators()
    states = [g.get_state() for g in draws]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    effect(sd15, perturb(sd15.unet, seed=1), generator=draws)
    affinity(sd15, perturb(sd15.unet, seed=1), generator=draws)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(g.get_state(), s) for g, s in zip(draws, states, strict=True))
    assert type(sd15) is StableDiffusionPipeline


def test_denoisers_are_known_by_what_they_take(sd15: StableDiffusionPipeline) -> None:
    assert denoiser_names(sd15) == ["unet"]

    class Empty(DiffusionPipeline):
        def __init__(self, vae: Any) -> None:
            super().__init__()
            self.register_modules(vae=vae)

    with pytest.raises(TypeError, match="Empty has no unet"):
        realign(Empty(sd15.vae), sd15.unet)
