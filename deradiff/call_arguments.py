"""The arguments of a pipeline's call: what a second call alongside needs, and what can matter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from deradiff.call_copies import cloned_generators, stateful_components
from deradiff.mixing import InexactMixtureError
from deradiff.replaced_step import replace_step
from deradiff.seeded_steps import Step, seed_noise, seeded_step

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
    quiet = {name: None for name in arguments if _is_callback(name)}
    ends_early = {"output_type": "latent"} if "output_type" in takes else {}
    drawn = {"generator": cloned_generators(arguments.get("generator"))}
    return arguments | quiet | ends_early | (drawn if "generator" in arguments else {})


def settings(arguments: Arguments, pipe: Any) -> tuple[Any, ...]:
    """Return what can change how a call must be mixed: all but prompts, tensors and callbacks."""
    generator = arguments.get("generator")
    return (
        len(generator) if isinstance(generator, list) else generator is not None,
        *sorted((name, repr(v)) for name, v in arguments.items() if _counts(name, v)),
        *((type(c), repr(c.config)) for c in stateful_components(pipe).values()),
    )


def _counts(name: str, value: Any) -> bool:
    return not (
        isinstance(value, Tensor | torch.Generator)
        or callable(value)
        or name == "generator"
        or "prompt" in name
        or "image" in name
    )


def require_prompts_as_text(arguments: Arguments) -> None:
    """Raise InexactMixtureError if the prompts are given as one model's embeddings."""
    given = [k for k, v in arguments.items() if k.endswith("prompt_embeds") and v is not None]
    if given:
        raise InexactMixtureError(
            f"{given[0]} given, but the aligned pipeline has a text encoder of its own: give the "
            "prompts as text, which each model then encodes for itself"
        )


def has_callback(arguments: Arguments) -> bool:
    """Return whether the call has a callback, which may change what is attached to a denoiser."""
    return any(_is_callback(name) and value is not None for name, value in arguments.items())


@contextmanager
def seeded(scheduler: Any, generator: Any, taken: Callable[[Tensor, bool], None]) -> Iterator[None]:
    """Let the scheduler's noise obey the generators during a call.

    Args:
        scheduler: The pipeline's.
        generator: The call's generators.
        taken: Called after each step with the sample before it, and whether the scheduler itself
            has taken it, not a copy.
    """
    seed = getattr(scheduler, "noise_sampler_seed", None)
    seed_noise(scheduler, generator)

    def around(
        own: Any, step: Step, model_output: Any, timestep: Any, sample: Any, *rest: Any, **kw: Any
    ) -> Any:
        result = seeded_step(step, generator)(model_output, timestep, sample, *rest, **kw)
        taken(sample, own is scheduler)
        return result

    restore = replace_step(scheduler, around)
    try:
        yield
    finally:
        restore()
        if hasattr(scheduler, "noise_sampler_seed"):
            scheduler.noise_sampler_seed = seed


def _is_callback(name: str) -> bool:
    return name.startswith("callback") and not name.endswith("inputs")


def _signature(pipeline: Any) -> inspect.Signature:
    return inspect.signature(pipeline.__call__)
