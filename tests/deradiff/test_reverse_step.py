"""mean + sqrt(variance) · z is the scheduler's own step with the same noise, elementwise."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    SchedulerMixin,
)
from diffusers.utils.torch_utils import randn_tensor

from deradiff import reverse_step
from deradiff.reverse_step import scale_model_input

SHAPE = (3, 4, 6, 6)
PREDICTIONS = ("epsilon", "sample", "v_prediction")
CLIPPING = (
    {"clip_sample": False},
    {"clip_sample": True, "clip_sample_range": 0.8},
    {"thresholding": True, "sample_max_value": 1.5, "clip_sample": False},
)


def check_every_step(
    scheduler: SchedulerMixin, *, channels: int = 1, steps: int = 12, **step_kwargs: Any
) -> None:
    """Walk a whole schedule with random model outputs and compare each step elementwise."""
    scheduler.set_timesteps(steps)
    draws = torch.Generator().manual_seed(0)
    sample = torch.randn(SHAPE, generator=draws) * scheduler.init_noise_sigma
    for timestep in scheduler.timesteps:
        output = torch.randn((3, 4 * channels, 6, 6), generator=draws).tanh()
        before = copy.deepcopy(vars(scheduler))
        model_input = scale_model_input(scheduler, sample, timestep)
        gaussian = reverse_step(scheduler, output, timestep, sample, **step_kwargs)
        assert_unchanged(before, vars(scheduler))

        assert torch.equal(model_input, scheduler.scale_model_input(sample, timestep))
        expected = scheduler.step(
            output, timestep, sample, generator=torch.Generator().manual_seed(7), **step_kwargs
        ).prev_sample
        noise = randn_tensor(SHAPE, generator=torch.Generator().manual_seed(7))
        torch.testing.assert_close(gaussian.sample(noise), expected, rtol=1e-5, atol=2e-6)
        assert gaussian.variance.min() >= 0
        sample = expected


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, after[name])
        else:
            assert value == after[name]


@pytest.mark.parametrize("clipping", CLIPPING)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_small_log", "fixed_large"])
def test_ddpm_with_fixed_variance(variance_type: str, prediction_type: str, clipping: Any) -> None:
    check_every_step(
        DDPMScheduler(variance_type=variance_type, prediction_type=prediction_type, **clipping)
    )


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_ddpm_with_learned_range(prediction_type: str) -> None:
    scheduler = DDPMScheduler(
        variance_type="learned_range", prediction_type=prediction_type, clip_sample=False
    )
    check_every_step(scheduler, channels=2)


def test_ddpm_with_learned_variance() -> None:
    scheduler = DDPMScheduler(variance_type="learned", clip_sample=False)
    scheduler.set_timesteps(5)
    sample, noise = torch.randn(SHAPE), randn_tensor(SHAPE, torch.Generator().manual_seed(7))
    for timestep in scheduler.timesteps:
        output = torch.cat([torch.randn(SHAPE), torch.rand(SHAPE)], dim=1)
        gaussian = reverse_step(scheduler, output, timestep, sample)
        step = scheduler.step(output, timestep, sample, torch.Generator().manual_seed(7))
        torch.testing.assert_close(gaussian.sample(noise), step.prev_sample)
        if timestep > 0:
            assert torch.equal(gaussian.variance, output[:, 4:])


def test_ddpm_fixed_large_log_is_fixed_large() -> None:
    # diffusers' own step takes the square root of a logarithm here and returns NaN
    log, plain = (
        DDPMScheduler(variance_type=v, clip_sample=False)
        for v in ("fixed_large_log", "fixed_large")
    )
    for scheduler in (log, plain):
        scheduler.set_timesteps(8)
    sample, output = torch.randn(SHAPE), torch.randn(SHAPE)
    for timestep in log.timesteps:
        ours, expected = (reverse_step(s, output, timestep, sample) for s in (log, plain))
        assert torch.equal(ours.mean, expected.mean)
        assert torch.equal(ours.variance, expected.variance)


@pytest.mark.parametrize("clipping", CLIPPING)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
def test_ddim(eta: float, prediction_type: str, clipping: Any) -> None:
    scheduler = DDIMScheduler(prediction_type=prediction_type, **clipping)
    check_every_step(scheduler, eta=eta)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_ddim_spacings_and_final_alpha(spacing: str) -> None:
    for set_alpha_to_one in (True, False):
        scheduler = DDIMScheduler(
            timestep_spacing=spacing, set_alpha_to_one=set_alpha_to_one, clip_sample=True
        )
        check_every_step(scheduler, eta=0.5, use_clipped_model_output=True)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_euler_ancestral(prediction_type: str, spacing: str) -> None:
    check_every_step(
        EulerAncestralDiscreteScheduler(
            prediction_type=prediction_type,
            timestep_spacing=spacing,
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
        ),
        steps=20,
    )


def test_last_steps_are_deterministic() -> None:
    euler, ddim = EulerAncestralDiscreteScheduler(), DDIMScheduler(clip_sample=False)
    sample, output = torch.randn(SHAPE), torch.randn(SHAPE)
    for scheduler in (euler, ddim):
        scheduler.set_timesteps(6)
        assert reverse_step(scheduler, output, scheduler.timesteps[-1], sample).variance == 0


def test_unknown_scheduler_and_timestep_are_refused() -> None:
    sample = torch.randn(SHAPE)
    solver = DPMSolverMultistepScheduler()
    with pytest.raises(TypeError, match=r"DPMSolverMultistepScheduler.*use DDPMScheduler"):
        reverse_step(solver, sample, 1, sample)
    euler = EulerAncestralDiscreteScheduler()
    euler.set_timesteps(4)
    with pytest.raises(ValueError, match=r"timestep 3.5 is not one of"):
        reverse_step(euler, sample, 3.5, sample)
    learned = DDPMScheduler(variance_type="learned_range")
    with pytest.raises(ValueError, match=r"8 channels.*got 4"):
        reverse_step(learned, sample, 10, sample)
