"""Measure two properties of a scheduler's steps: affinity in the model output, noise per image.

Where steps are affine, with a variance that does not depend on the model, mixing model outputs is
the geometric mixture of the reverse steps (arXiv 2601.20198, Eq. 7 with equal variances). Clipping,
thresholding and learned variances break it; whether a scheduler does any of these is measured here
rather than looked up, so that schedulers yet to come are covered too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from deradiff.arrival import Arrival
from deradiff.call_copies import cloned_generators
from deradiff.random_state import kept_random_state
from deradiff.replaced_step import unpatched_copy
from deradiff.seeded_steps import Generators, Step, seed_noise, seeded_step

STEPS = 4
"""Several, since the first steps of some schedulers ignore the model output or belong together."""

_OUTPUT_SCALES = (1.0, 8.0)
"""Of the outputs that are tried: at the larger one every clipping of an image has an effect."""

_TOLERANCE = 1e-4


@torch.no_grad()
def step_is_affine(arrival: Arrival) -> bool:
    """Return whether the scheduler's steps are affine in the model output.

    From the same sample and with the same noise, the steps with the mean of two random outputs are
    compared with the mean of the steps with either.

    Args:
        arrival: A call of the scheduler's step, which is not taken. The steps that are tried begin
            at its timestep.
    """
    with kept_random_state():
        return all(_deviation(arrival, scale) <= _TOLERANCE for scale in _OUTPUT_SCALES)


@torch.no_grad()
def noise_is_per_image(arrival: Arrival) -> bool:
    """Return whether a step of image 2 alone equals its part in a step of the whole batch.

    Args:
        arrival: A call of the scheduler's step, which is not taken. True unless it has several
            images with a generator each.
    """
    given, kwargs = arrival.generator, arrival.own_kwargs
    if not isinstance(given, list) or len(given) < 2 or len(arrival.sample) != len(given):
        return True
    ends = []
    with kept_random_state():
        for images in (slice(None), slice(1, 2)):
            generators = [cloned_generators(each) for each in given[images]]
            step = _copied_step(arrival.scheduler, generators)
            output, sample = arrival.model_output[images], arrival.sample[images]
            ends.append(step(output, arrival.timestep, sample, **kwargs, return_dict=False)[0])
    return bool((ends[0][1:2] - ends[1]).abs().max() <= _TOLERANCE * ends[0].abs().max())


def _deviation(arrival: Arrival, scale: float) -> float:
    """Return the largest distance from affinity, relative to the samples, over some steps."""
    steps = [_copied_step(arrival.scheduler, torch.Generator().manual_seed(1)) for _ in range(3)]
    kwargs = arrival.own_kwargs
    sample, worst = arrival.sample.float(), 0.0
    draws = _random_outputs(arrival.model_output, scale)
    for timestep, first, second in zip(_timesteps(arrival), draws, draws, strict=False):
        ends = []
        for step, output in zip(steps, (first, second, (first + second) / 2), strict=True):
            torch.manual_seed(2)  # for noise that obeys no generator
            ends.append(step(output, timestep, sample, **kwargs, return_dict=False)[0].float())
        deviation = (ends[2] - (ends[0] + ends[1]) / 2).abs().max()
        worst = max(worst, float(deviation / torch.stack(ends).abs().max().clamp(min=1e-6)))
        sample = ends[0]
    return worst


def _copied_step(scheduler: Any, generators: Generators) -> Step:
    """Return the step of a copy of the scheduler, not the one that stops a lane."""
    copied = unpatched_copy(scheduler)
    seed_noise(copied, generators)
    return seeded_step(copied.step, generators)


def _timesteps(arrival: Arrival) -> list[Any]:
    timesteps = list(arrival.scheduler.timesteps)
    begin = [i for i, t in enumerate(timesteps) if float(t) == float(arrival.timestep)]
    return timesteps[begin[0] : begin[0] + STEPS] if begin else [arrival.timestep]


def _random_outputs(like: Tensor, scale: float) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield scale * torch.randn(like.shape, generator=generator).to(like.device)
