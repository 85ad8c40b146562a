"""Preference pairs → tensors of one Diffusion-DPO micro-batch (arXiv 2311.12908)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from deradiff.dpo.latents import encoded_images, scaled_latents
from deradiff.dpo.noised_pairs import DenoiserInputs, NoisedPairs
from deradiff.dpo.pairs import PreferencePair, PreferencePairs, epoch_order
from deradiff.dpo.unet_inputs import UNetInputs


class NoisedPairSource:
    """Draws micro-batches from preference pairs; batch n depends on the seed and n alone.

    Args:
        pipe: The pipeline whose denoiser is trained.
        pairs: Preference pairs.
        batch_size: Pairs per micro-batch.
        seed: Seed of the order of pairs, of the noises and of the timesteps.
        cache_latents: Whether to keep every pair's latents in memory.
        inputs: How latents are noised and the denoiser is conditioned; by default as for a unet.

    Raises:
        TypeError: If the pipeline's unet predicts neither noise nor velocity.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        pairs: PreferencePairs,
        *,
        batch_size: int,
        seed: int,
        cache_latents: bool = False,
        inputs: DenoiserInputs | None = None,
    ) -> None:
        self._pipe, self._pairs = pipe, pairs
        self._batch_size, self._seed = batch_size, seed
        self._order = lru_cache(maxsize=2)(
            lambda epoch: epoch_order(self._pairs, seed=self._seed, epoch=epoch)
        )
        self._latents: dict[int, Tensor] | None = {} if cache_latents else None
        self._inputs = inputs or UNetInputs(pipe)

    @torch.no_grad()
    def batch(self, number: int) -> NoisedPairs:
        """Return micro-batch `number`, counted from 0."""
        indices = self._indices(number)
        pairs = [self._pairs[i] for i in indices]
        _require_one_size(pairs)
        # (B, 2, C, H, W) -> preferred images first: (2B, C, H, W)
        encoded = [self._encode(i, pair) for i, pair in zip(indices, pairs, strict=True)]
        latents = torch.stack(encoded, dim=1).flatten(0, 1)
        draws = np.random.SeedSequence([self._seed, number]).generate_state(1, np.uint64)
        generator = torch.Generator().manual_seed(int(draws[0] >> np.uint64(1)))
        noise = torch.randn(latents[: len(indices)].shape, generator=generator)
        noise = noise.to(latents).repeat(2, 1, 1, 1)
        return self._inputs.noised_pairs(latents, noise, pairs=pairs, generator=generator)

    def _indices(self, number: int) -> list[int]:
        """Return the indices of a micro-batch's pairs: one seeded permutation per epoch."""
        count = len(self._pairs)
        positions = range(number * self._batch_size, (number + 1) * self._batch_size)
        return [int(self._order(p // count)[p % count]) for p in positions]

    def _encode(self, index: int, pair: PreferencePair) -> Tensor:
        """Return the scaled latents (2, C, H, W) of a pair."""
        if self._latents is not None and index in self._latents:
            return self._latents[index]
        encoded = encoded_images(self._pipe, [pair.preferred, pair.rejected])
        latents = scaled_latents(self._pipe, encoded)
        if self._latents is not None:
            self._latents[index] = latents
        return latents


def _require_one_size(pairs: Sequence[PreferencePair]) -> None:
    sizes = {image.size for pair in pairs for image in (pair.preferred, pair.rejected)}
    if len(sizes) > 1:
        names = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        raise ValueError(
            f"a batch has images of {names} pixels, expected one size: give the pairs a resolution"
        )
