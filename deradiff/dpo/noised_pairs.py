"""What a denoiser is given of one micro-batch of preference pairs, and how far off it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from deradiff.denoisers import timestep_place
from deradiff.dpo.pairs import PreferencePair


class NoisedPairs(NamedTuple):
    """One micro-batch of B pairs: the B preferred images, then the B rejected ones.

    Both images of a pair share their noise and their timestep.

    Attributes:
        inputs: Noised latents as the denoiser takes them: (2B, C, H, W), or packed (2B, N, D).
        timesteps: Their timesteps in the denoiser's units, (2B,).
        target: What the denoiser should predict: noise or velocity, of the shape of `inputs`.
        condition: The denoiser's other keyword arguments.
    """

    inputs: Tensor
    timesteps: Tensor
    target: Tensor
    condition: dict[str, Any]

    def errors(self, denoiser: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the per-sample mean squared errors (B,) of preferred and rejected images."""
        timestep, _ = timestep_place(denoiser)
        condition = {**self.condition, timestep: self.timesteps}
        output = denoiser(self.inputs, **condition, return_dict=False)[0]
        error = (output.float() - self.target.float()).square().flatten(1).mean(1)
        preferred, rejected = error.chunk(2)
        return preferred, rejected


class DenoiserInputs(Protocol):
    """Noises latents as a pipeline's scheduler does and adds what conditions its denoiser."""

    def noised_pairs(
        self,
        latents: Tensor,
        noise: Tensor,
        *,
        pairs: Sequence[PreferencePair],
        generator: torch.Generator,
    ) -> NoisedPairs:
        """Return the denoiser's inputs for B pairs.

        Args:
            latents: Scaled latents, preferred images first, (2B, C, H, W).
            noise: Gaussian noise of that shape, the same for both images of a pair.
            pairs: The B pairs.
            generator: Source of the timesteps, on the CPU.
        """
