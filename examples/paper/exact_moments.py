"""What a sampler makes of affine denoisers, exactly: it maps Gaussians to Gaussians.

With Gaussian data every noise prediction is affine in the sample, and so is every step. Its matrix
and offset are read off by stepping from 0 and from the unit vectors, and the mean and covariance of
x_T ~ N(0, σ_T² I) are carried through them: no Monte Carlo, only the schedulers' float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from deradiff import geometric_mixture, reverse_step
from deradiff.gaussian import mixture_weights
from deradiff.mixing import mix
from deradiff.reverse_step import scale_model_input
from examples.paper.exact_densities import Denoiser, Normal

SAMPLERS: dict[str, Callable[..., Any]] = {
    "DDIM": lambda **kw: DDIMScheduler(clip_sample=False, **kw),
    "DPM++ 2M": DPMSolverMultistepScheduler,
    "Euler": EulerDiscreteScheduler,
    "DDPM": lambda **kw: DDPMScheduler(clip_sample=False, **kw),
    "Euler ancestral": EulerAncestralDiscreteScheduler,
}
"""Schedulers of diffusers; the last two draw noise in every step."""

_ONE_STEP = ("DDIM", "DDPM", "Euler ancestral")
"""Those with a known reverse-step posterior: Eq. 7 is applied to the steps themselves."""


def scheduler(sampler: str, steps: int) -> Any:
    """Return a scheduler from t = 999 on, with the schedule β = 1e-4 ... 0.02."""
    made = SAMPLERS[sampler](timestep_spacing="trailing")
    made.set_timesteps(steps)
    return made


def sampled(
    models: Sequence[Denoiser], lams: Tensor, *, dimension: int, sampler: str, steps: int
) -> Normal:
    """Return the distribution of x_0 that the sampler gives, one Gaussian per λ.

    Args:
        models: The reference and an aligned denoiser, which are mixed at λ; or one denoiser.
            They take L · (D + 1) samples of shape (D,), D + 1 in succession per λ.
        lams: (L,) λs.
        dimension: D.
        sampler: A key of `SAMPLERS`.
        steps: Number of steps.
    """
    probes = torch.cat([torch.zeros(1, dimension), torch.eye(dimension)]).double()
    propagate = _by_reverse_steps if sampler in _ONE_STEP else _by_whole_trajectory
    return propagate(
        models,
        lams.repeat_interleave(dimension + 1),
        scheduler=scheduler(sampler, steps),
        probes=probes.repeat(len(lams), 1),
    )


def _by_reverse_steps(
    models: Sequence[Denoiser], lams: Tensor, *, scheduler: Any, probes: Tensor
) -> Normal:
    """Mix the reverse steps by Theorem 1 and carry the moments through each of them."""
    moments = _start(scheduler, probes)
    for timestep in scheduler.timesteps:
        model_input = scale_model_input(scheduler, probes, timestep)
        steps = [
            reverse_step(scheduler, model(model_input, timestep)[0], timestep, probes)
            for model in models
        ]
        mixture = steps[0] if len(steps) == 1 else geometric_mixture(steps[0], steps[1:], [lams])
        moments = _through(moments, mixture.mean, float(mixture.variance.max()))
    return moments


def _by_whole_trajectory(
    models: Sequence[Denoiser], lams: Tensor, *, scheduler: Any, probes: Tensor
) -> Normal:
    """Mix the model outputs, as `realign` does, through a deterministic multistep scheduler."""
    weights = (1.0,) if len(models) == 1 else mixture_weights(lams, 1)
    moments = _start(scheduler, probes)
    sample = probes
    for timestep in scheduler.timesteps:
        model_input = scheduler.scale_model_input(sample, timestep)
        outputs = [model(model_input, timestep)[0] for model in models]
        output = mix(weights, outputs)
        sample = scheduler.step(output, timestep, sample, return_dict=False)[0].double()
    return _through(moments, sample, 0.0)


def _start(scheduler: Any, probes: Tensor) -> Normal:
    """Return N(0, σ_T² I), one per λ."""
    dimension = probes.shape[1]
    lams = len(probes) // (dimension + 1)
    width = float(scheduler.init_noise_sigma) ** 2
    covariance = width * torch.eye(dimension).double().repeat(lams, 1, 1)
    return Normal(torch.zeros(lams, dimension).double(), covariance)


def _through(moments: Normal, ends: Tensor, variance: float) -> Normal:
    """Return the moments after an affine step that takes the probes to `ends`, plus noise."""
    dimension = moments.mean.shape[1]
    ends = ends.double().reshape(len(moments.mean), dimension + 1, dimension)
    offset = ends[:, 0]
    matrix = (ends[:, 1:] - offset[:, None]).mT  # the image of each unit vector is a column
    mean = (matrix @ moments.mean[..., None]).squeeze(-1) + offset
    noise = variance * torch.eye(dimension).double()
    return Normal(mean, matrix @ moments.covariance @ matrix.mT + noise)
