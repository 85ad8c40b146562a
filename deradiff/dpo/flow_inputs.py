"""What a flow-matching denoiser such as SD3's or Flux's is trained on: the velocity.

| symbol | code      | meaning                                               | shape        |
|--------|-----------|-------------------------------------------------------|--------------|
| x₀     | `latents` | scaled latents of an image                            | (B, C, H, W) |
| ε      | `noise`   | Gaussian noise, the same for both images of a pair    | (B, C, H, W) |
| σ      | `sigma`   | place on the path from data (0) to noise (1)          | (B,)         |

Rectified flow (SD3, arXiv 2403.03206) goes straight, x_σ = (1 − σ) x₀ + σ ε, and the denoiser
predicts the velocity ε − x₀. Diffusion-DPO with velocity errors is Flow-DPO (arXiv 2501.13918),
here with its constant β instead of β (1 − σ)². σ is drawn as in the training scripts of diffusers
for SD3 and Flux: a logit-normal u in (0, 1) picks one of the scheduler's training steps, whose
shift is thus part of the density, and all steps weigh the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from deradiff.dpo.latents import encoded_images, scaled_latents
from deradiff.dpo.noised_pairs import NoisedPairs
from deradiff.dpo.pairs import PreferencePair
from deradiff.dpo.pipeline_call import Convention, PipelineCall, UntrainablePipelineError
from deradiff.dpo.presets import DPOSettings


def is_flow_matching(scheduler: Any) -> bool:
    """Return whether a scheduler noises samples on a straight path to the noise."""
    return hasattr(scheduler, "scale_noise")


class FlowInputs:
    """Noises latents by rectified flow and conditions the denoiser as the pipeline's call does.

    Args:
        pipe: A pipeline with a flow-matching scheduler.
        name: Name of its denoiser.
        settings: The density of σ and the guidance.
        example: A pair that the call's conventions are measured with.

    Raises:
        TypeError: If the pipeline's call has conventions that are not known here.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        name: str,
        *,
        settings: DPOSettings,
        example: PreferencePair,
    ) -> None:
        self._sampling = settings.timestep_sampling
        self._sigmas = type(pipe.scheduler).from_config(pipe.scheduler.config).sigmas
        self._call = PipelineCall(pipe, name, guidance_scale=settings.guidance_scale)
        self._convention = _measured(pipe, self._call, example)

    def noised_pairs(
        self,
        latents: Tensor,
        noise: Tensor,
        *,
        pairs: Sequence[PreferencePair],
        generator: torch.Generator,
    ) -> NoisedPairs:
        """Return the denoiser's inputs at drawn σ."""
        sigma = self._drawn(len(pairs), generator).to(latents).repeat(2)
        intercept, slope, sign = self._convention
        return NoisedPairs(
            self._call.packed(rectified_flow(latents, noise, sigma)),
            intercept + slope * sigma,
            self._call.packed(sign * (noise - latents)),
            self._call.condition([pair.prompt for pair in pairs] * 2, latents),
        )

    def _drawn(self, count: int, generator: torch.Generator) -> Tensor:
        if self._sampling == "uniform":
            place = torch.rand(count, generator=generator)
        else:
            place = torch.sigmoid(torch.randn(count, generator=generator))
        drawn: Tensor = self._sigmas[(place * len(self._sigmas)).long()]
        return drawn


def rectified_flow(latents: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """Return (1 − σ) x₀ + σ ε for latents and noise (B, C, H, W) and σ (B,)."""
    weight = sigma.view(-1, 1, 1, 1)
    return (1 - weight) * latents + weight * noise


@torch.no_grad()
def _measured(pipe: DiffusionPipeline, call: PipelineCall, example: PreferencePair) -> Convention:
    name = type(pipe).__name__
    try:
        encoded = encoded_images(pipe, [example.preferred])
        latents = scaled_latents(pipe, encoded)
        return call.convention(example.prompt, encoded, latents)
    except UntrainablePipelineError as error:
        raise TypeError(f"{name} {error}: Diffusion-DPO here cannot train it") from None
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a pipeline does that does not fit
        raise TypeError(
            f"{name} cannot be trained by Diffusion-DPO here: a call with latents from its VAE "
            f"has failed ({type(error).__name__}: {error})"
        ) from error
