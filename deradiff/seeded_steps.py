"""Make a scheduler's noise obey the images' generators, whether or not a pipeline passes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from diffusers import SchedulerMixin

Step = Callable[..., Any]
"""`scheduler.step`: takes (model_output, timestep, sample, ...) and returns a tuple or an output
whose first item is the previous sample."""

Generators = torch.Generator | list[torch.Generator] | None


def seeded_step(scheduler: SchedulerMixin, generator: Generators) -> Step:
    """Return the scheduler's step with the images' own noise.

    A step that takes a generator is given it where the caller gives none. A scheduler that draws
    its noise from seeds (`noise_sampler_seed`) is given the generators' seeds, one per image.

    Args:
        scheduler: The scheduler; `noise_sampler_seed` is set on it.
        generator: The call's generators; None leaves the step as it is.
    """
    step: Step = scheduler.step
    if generator is None:
        return step
    if getattr(scheduler, "noise_sampler_seed", 0) is None:
        scheduler.noise_sampler_seed = _seeds(generator)
    if "generator" not in inspect.signature(step).parameters:
        return step

    @functools.wraps(step)
    def with_generator(model_output: Any, timestep: Any, sample: Any, *rest: Any, **kw: Any) -> Any:
        if not rest and kw.get("generator") is None:
            kw["generator"] = generator
        return step(model_output, timestep, sample, *rest, **kw)

    return with_generator


def _seeds(generator: torch.Generator | list[torch.Generator]) -> int | list[int]:
    if isinstance(generator, torch.Generator):
        return generator.initial_seed()
    return [each.initial_seed() for each in generator]
