"""What the lanes of a realigned call do where they meet at a scheduler step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from deradiff.arrival import Arrival
from deradiff.call_copies import cloned_generators
from deradiff.gaussian import Lam, geometric_mixture
from deradiff.mixing import mix, mix_fields, prediction_of, with_prediction
from deradiff.reverse_step import reverse_step


def step_with_mixed_predictions(weights: Sequence[Lam], arrivals: Sequence[Arrival]) -> list[Any]:
    """Take every lane's step with the mixture of their guided predictions."""
    mixed = mix(weights, [arrival.model_output for arrival in arrivals])
    return [arrival.with_output(mixed) for arrival in arrivals]


def mixture_of_steps(weights: Sequence[Lam], arrivals: Sequence[Arrival]) -> list[Any]:
    """Draw from the geometric mixture of the lanes' reverse steps (arXiv 2601.20198, Theorem 1).

    Where the variances are equal, it is the mixture of what the schedulers draw with the same
    noise. A prediction with more channels than the sample brings its own variance (A.4, Eq. 7).
    """
    if arrivals[0].model_output.shape[1] > arrivals[0].sample.shape[1]:
        return _of_learned_variances(weights, arrivals)
    outputs = [arrival.with_output(arrival.model_output) for arrival in arrivals]
    mixed = mix_fields(weights, outputs)
    return [with_prediction(mixed, prediction_of(mixed).clone()) for _ in outputs]


def _of_learned_variances(weights: Sequence[Lam], arrivals: Sequence[Arrival]) -> list[Any]:
    scheduler = arrivals[0].scheduler
    posteriors = [
        reverse_step(scheduler, each.model_output, each.timestep, each.sample, **each.own_kwargs)
        for each in arrivals
    ]
    mixture = geometric_mixture(posteriors[0], posteriors[1:], list(weights[1:]))
    # Before the steps below advance them.
    generators = cloned_generators([arrival.generator for arrival in arrivals])
    return [
        with_prediction(
            each.with_output(each.model_output), _draw(mixture, each.sample, generator=drawn)
        )
        for each, drawn in zip(arrivals, generators, strict=True)
    ]


def _draw(mixture: Any, sample: Tensor, *, generator: Any) -> Tensor:
    if not bool((mixture.variance > 0).any()):
        drawn: Tensor = mixture.mean
    else:
        noise = randn_tensor(
            sample.shape, generator=generator, device=sample.device, dtype=sample.dtype
        )
        drawn = mixture.sample(noise)
    return drawn.to(sample.dtype)
