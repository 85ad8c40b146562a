"""Algorithm 1 of arXiv 2601.20198 as written: one denoising loop, a generator of steps.

It samples exactly where mixing model outputs does not (clipping, thresholding, learned variances),
tests check `realignment` against it, and its steps give the divergence of p_λ from the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import SchedulerMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from deradiff.gaussian import Gaussian, Lam, as_list, geometric_mixture, kl_divergence
from deradiff.reverse_step import reverse_step, scale_model_input

Denoiser = Callable[..., Any]
"""A unet or transformer: `denoiser(sample, timestep, **condition, return_dict=False)` returns a
tuple whose first item is the model output."""


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, ε = ε(c_null) + γ (ε(c) − ε(c_null)).

    Attributes:
        condition: The denoiser's keyword arguments for the prompts, such as
            `encoder_hidden_states` of shape (B, tokens, width).
        unconditional: The same for the empty or negative prompt; None disables guidance.
        scale: γ, the `guidance_scale`.
    """

    condition: Mapping[str, Any]
    unconditional: Mapping[str, Any] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Step:
    """One reverse step of the realigned sampler.

    Attributes:
        timestep: The scheduler's timestep t, 0-d.
        reference: p(x_{t−1} | x_t) of the reference.
        aligned: p(x_{t−1} | x_t) of each of the K aligned models.
        mixture: Their geometric mixture at λ.
        prev_sample: x_{t−1} drawn from the mixture, (B, C, ...).
    """

    timestep: Tensor
    reference: Gaussian
    aligned: tuple[Gaussian, ...]
    mixture: Gaussian
    prev_sample: Tensor

    @property
    def kl_to_reference(self) -> Tensor | None:
        """Return KL(mixture ‖ reference) in nats, shape (B,); None if the step draws no noise.

        With equal variances it is λ² ‖μ2 − μ1‖² / (2σ²). Summed over the steps of a trajectory, its
        expectation is the divergence between the path distributions, an upper bound of the
        divergence between the distributions of images.
        """
        if not bool((self.mixture.variance > 0).all()):
            return None
        return kl_divergence(self.mixture, self.reference)


@torch.no_grad()
def realigned_steps(
    models: Sequence[Denoiser],
    scheduler: SchedulerMixin,
    latents: Tensor,
    *,
    lam: Lam | Sequence[Lam],
    guidance: Guidance,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
    **step_kwargs: Any,
) -> Iterator[Step]:
    """Sample from p[β/λ] step by step (arXiv 2601.20198, Algorithm 1).

    Args:
        models: The reference denoiser, followed by the aligned ones.
        scheduler: A scheduler that `reverse_step` supports, with `set_timesteps` called.
        latents: x_T of shape (B, C, ...), already multiplied by `scheduler.init_noise_sigma`.
        lam: λ, or one per aligned model; each a number or a tensor of shape (B,).
        guidance: Conditioning of the denoisers.
        generator: One for the batch or one per image, as in diffusers.
        **step_kwargs: Arguments for `reverse_step`, such as DDIM's `eta`.

    Yields:
        One `Step` per timestep. The `prev_sample` of the last one is x_0, for the VAE to decode.

    Raises:
        InvalidMixtureError: If the precision of a mixture is not positive.
        TypeError: If `reverse_step` does not support the scheduler.
        ValueError: If `lam` does not fit the number of aligned models or is not finite.
    """
    reference, *aligned = models
    generators = list(generator) if isinstance(generator, Sequence) else generator
    sample = latents
    for timestep in scheduler.timesteps:
        model_input = scale_model_input(scheduler, sample, timestep)
        posteriors = [
            reverse_step(
                scheduler,
                _guided(model, model_input, timestep=timestep, guidance=guidance),
                timestep,
                sample,
                **step_kwargs,
            )
            for model in (reference, *aligned)
        ]
        mixture = geometric_mixture(posteriors[0], posteriors[1:], as_list(lam))
        prev_sample = mixture.mean
        if bool((mixture.variance > 0).any()):
            noise = randn_tensor(
                sample.shape, generator=generators, device=sample.device, dtype=latents.dtype
            )
            prev_sample = mixture.sample(noise)
        sample = prev_sample.to(latents.dtype)
        yield Step(timestep, posteriors[0], tuple(posteriors[1:]), mixture, sample)


def _guided(model: Denoiser, sample: Tensor, *, timestep: Tensor, guidance: Guidance) -> Tensor:
    """Return the guided model output; a learned variance is taken from the conditional pass."""
    conditional: Tensor = model(sample, timestep, **guidance.condition, return_dict=False)[0]
    if guidance.unconditional is None:
        return conditional
    unconditional: Tensor = model(sample, timestep, **guidance.unconditional, return_dict=False)[0]
    channels = sample.shape[1]
    mean, variance = conditional[:, :channels], conditional[:, channels:]
    null = unconditional[:, :channels]
    return torch.cat([null + guidance.scale * (mean - null), variance], dim=1)
