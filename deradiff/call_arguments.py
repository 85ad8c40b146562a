"""The arguments of a pipeline's call: what a second call alongside needs, and what can matter."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from deradiff.call_copies import cloned_generators, stateful_components
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


@contextmanager
def seeded(scheduler: Any, generator: Any, count: Callable[[], None]) -> Iterator[None]:
    """Let the scheduler's noise obey the generators during a call, and count its steps."""
    seed = getattr(scheduler, "noise_sampler_seed", None)
    step = seeded_step(scheduler, generator)

    @wraps(step)
    def counted(*args: Any, **kwargs: Any) -> Any:
        result = step(*args, **kwargs)
        count()
        return result

    replaced = vars(scheduler).get("step")
    scheduler.step = counted
    try:
        yield
    finally:
        del scheduler.step
        if replaced is not None:
            scheduler.step = replaced
        if hasattr(scheduler, "noise_sampler_seed"):
            scheduler.noise_sampler_seed = seed


def _signature(pipeline: Any) -> inspect.Signature:
    return inspect.signature(pipeline.__call__)
