"""The arguments of a pipeline's call: what a second call alongside needs, and what can matter."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from deradiff.lockstep import cloned_generators
from deradiff.mixing import InexactMixtureError
from deradiff.seeded_steps import seeded_step

Arguments = dict[str, Any]
"""By name."""


def arguments_of(pipeline: type, pipe: Any, args: tuple[Any, ...], kwargs: Arguments) -> Arguments:
    """Return the arguments of a call by name, without the pipeline itself.

    Raises:
        TypeError: If the pipeline does not take them.
    """
    bound = _signature(pipeline).bind(pipe, *args, **kwargs)
    arguments = dict(list(bound.arguments.items())[1:])
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    return arguments


def with_generator(arguments: Arguments, pipeline: type) -> Arguments:
    """Return the arguments with a generator, so that calls alongside draw the same noise."""
    if arguments.get("generator") is not None or "generator" not in _signature(pipeline).parameters:
        return arguments
    seed = int(torch.randint(2**62, ()))
    return arguments | {"generator": torch.Generator().manual_seed(seed)}


def without_side_effects(arguments: Arguments, pipeline: type) -> Arguments:
    """Return the arguments of a call whose result nobody sees."""
    takes = _signature(pipeline).parameters
    quiet = {
        name: None
        for name in arguments
        if name.startswith("callback") and not name.endswith("inputs")
    }
    ends_early = {"output_type": "latent"} if "output_type" in takes else {}
    drawn = {"generator": cloned_generators(arguments.get("generator"))}
    return arguments | quiet | ends_early | (drawn if "generator" in arguments else {})


def settings(arguments: Arguments) -> tuple[Any, ...]:
    """Return those arguments that can change how guidance works: numbers, flags and modes."""
    return tuple(
        sorted(
            (name, repr(value))
            for name, value in arguments.items()
            if isinstance(value, int | float | str | type(None)) and "prompt" not in name
        )
    )


def require_prompts_as_text(arguments: Arguments) -> None:
    """Raise InexactMixtureError if the prompts are given as one model's embeddings."""
    given = [k for k, v in arguments.items() if k.endswith("prompt_embeds") and v is not None]
    if given:
        raise InexactMixtureError(
            f"{given[0]} given, but the aligned pipeline has a text encoder of its own: give the "
            "prompts as text, which each model then encodes for itself"
        )


@contextmanager
def seeded(scheduler: Any, generator: Any) -> Iterator[None]:
    """Let the scheduler's noise obey the generators during a call."""
    if generator is None or "step" in vars(scheduler):
        yield
        return
    seed = getattr(scheduler, "noise_sampler_seed", None)
    scheduler.step = seeded_step(scheduler, generator)
    try:
        yield
    finally:
        del scheduler.step
        if hasattr(scheduler, "noise_sampler_seed"):
            scheduler.noise_sampler_seed = seed


def _signature(pipeline: Any) -> inspect.Signature:
    return inspect.signature(pipeline.__call__)
