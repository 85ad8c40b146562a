"""Algorithm 1 of arXiv 2601.20198, literally: one denoising loop as a generator of steps.

It is the oracle for `realignment`, the sampler where mixing outputs is not exact (clipping,
thresholding, learned variances), and the source of the divergence between p_λ and the reference.
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
"""A unet or transformer: `denoiser(sample, timestep, **condition, return_dict=False)[0]`."""


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance, ε = ε(c_null) + γ (ε(c) − ε(c_null)).

    Attributes:
        condition: The denoiser's keyword arguments for the prompts, such as
            `encoder_hidden_states` of shape (B, tokens, width).
        unconditional: The same for the empty or negative prompt; None for no guidance.
        scale: γ, the `guidance_scale`.
    """

    condition: Mapping[str, Any]
    unconditional: Mapping[str, Any] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Step:
    """One reverse step of the realigned sampler.

    Attributes:
        timestep: 0-d, the scheduler's timestep t.
        reference: The reference's p(x_{t−1} | x_t).
        aligned: The aligned models' p(x_{t−1} | x_t), K of them.
        mixture: Their geometric mixture at λ.
        prev_sample: (B, C, ...) x_{t−1} drawn from the mixture.
    """

    timestep: Tensor
    reference: Gaussian
    aligned: tuple[Gaussian, ...]
    mixture: Gaussian
    prev_sample: Tensor

    @property
    def kl_to_reference(self) -> Tensor | None:
        """KL(mixture ‖ reference) in nats, shape (B,); None where the step draws no noise.

        With equal variances it is λ² ‖μ2 − μ1‖² / (2σ²). Summed over the steps of a trajectory its
        expectation is the KL between the path distributions, an upper bound of the KL between
        the images' distributions.
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
        models: The reference denoiser and then the aligned ones, in this order.
        scheduler: A scheduler that `reverse_step` knows, with `set_timesteps` called.
        latents: (B, C, ...) x_T, already multiplied by `scheduler.init_noise_sigma`.
        lam: λ, or one per aligned model; each a number or a tensor of shape (B,).
        guidance: What the denoisers are conditioned on.
        generator: One for the batch or one per image, as diffusers takes it.
        **step_kwargs: For `reverse_step`, such as DDIM's `eta`.

    Yields:
        One `Step` per timestep; the last one's `prev_sample` is x_0, for the VAE to decode.
    """
    reference, *aligned = models
    generators = list(generator) if isinstance(generator, Sequence) else generator
    sample = latents
    for timestep in scheduler.timesteps:
        model_input = scale_model_input(scheduler, sample, timestep)
        posteriors = [
            reverse_step(
                scheduler,
                _guided(model, model_input, timestep, guidance),
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


def _guided(model: Denoiser, sample: Tensor, timestep: Tensor, guidance: Guidance) -> Tensor:
    """Return the guided model output; a learned variance is the conditional one, unguided."""
    conditional: Tensor = model(sample, timestep, **guidance.condition, return_dict=False)[0]
    if guidance.unconditional is None:
        return conditional
    unconditional: Tensor = model(sample, timestep, **guidance.unconditional, return_dict=False)[0]
    channels = sample.shape[1]
    mean, variance = conditional[:, :channels], conditional[:, channels:]
    null = unconditional[:, :channels]
    return torch.cat([null + guidance.scale * (mean - null), variance], dim=1)
