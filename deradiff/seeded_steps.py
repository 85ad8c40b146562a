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


def seed_noise(scheduler: SchedulerMixin, generator: Generators) -> None:
    """Give a scheduler that draws its noise from seeds (`noise_sampler_seed`) one per image."""
    if generator is not None and getattr(scheduler, "noise_sampler_seed", 0) is None:
        scheduler.noise_sampler_seed = _seeds(generator)


def seeded_step(step: Step, generator: Generators) -> Step:
    """Return a scheduler's step that is given the generators where it takes them and has none.

    Args:
        step: The scheduler's step.
        generator: The call's generators; None leaves the step as it is.
    """
    if generator is None or "generator" not in inspect.signature(step).parameters:
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
