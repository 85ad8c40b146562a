"""Preference pairs → tensors of one Diffusion-DPO micro-batch (arXiv 2311.12908)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor, nn

from deradiff.dpo.pairs import PreferencePair, PreferencePairs, epoch_order


class NoisedPairs(NamedTuple):
    """One micro-batch of B pairs: the B preferred images, then the B rejected ones.

    Both images of a pair share their noise and their timestep.

    Attributes:
        inputs: Noised latents, (2B, C, H, W).
        timesteps: Their timesteps, (2B,).
        target: The noise or velocity that the denoiser should predict, (2B, C, H, W).
        condition: The denoiser's other keyword arguments.
    """

    inputs: Tensor
    timesteps: Tensor
    target: Tensor
    condition: dict[str, Any]

    def errors(self, denoiser: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the per-sample mean squared errors (B,) of preferred and rejected images."""
        output = denoiser(self.inputs, self.timesteps, **self.condition, return_dict=False)[0]
        error = (output.float() - self.target.float()).square().flatten(1).mean(1)
        preferred, rejected = error.chunk(2)
        return preferred, rejected


class NoisedPairSource:
    """Draws micro-batches from preference pairs; batch n depends on the seed and n alone.

    Args:
        pipe: A Stable Diffusion 1.x, 2.x or SDXL pipeline.
        pairs: Preference pairs.
        batch_size: Pairs per micro-batch.
        seed: Seed of the order of pairs, of the noises and of the timesteps.
        cache_latents: Whether to keep every pair's latents in memory.

    Raises:
        TypeError: If the pipeline's denoiser predicts neither noise nor velocity.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        pairs: PreferencePairs,
        *,
        batch_size: int,
        seed: int,
        cache_latents: bool = False,
    ) -> None:
        self._pipe, self._pairs = pipe, pairs
        self._batch_size, self._seed = batch_size, seed
        self._order = lru_cache(maxsize=2)(
            lambda epoch: epoch_order(self._pairs, seed=self._seed, epoch=epoch)
        )
        self._latents: dict[int, Tensor] | None = {} if cache_latents else None
        self._schedule = DDPMScheduler.from_config(pipe.scheduler.config)
        if self._schedule.config.prediction_type not in ("epsilon", "v_prediction"):
            raise TypeError(
                f"prediction_type {self._schedule.config.prediction_type!r}: Diffusion-DPO here "
                "knows epsilon and v_prediction"
            )

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
        steps = self._schedule.config.num_train_timesteps
        timesteps = torch.randint(steps, (len(indices),), generator=generator)
        timesteps = timesteps.to(latents.device).repeat(2)
        target = noise
        if self._schedule.config.prediction_type == "v_prediction":
            target = self._schedule.get_velocity(latents, noise, timesteps)
        return NoisedPairs(
            self._schedule.add_noise(latents, noise, timesteps),
            timesteps,
            target,
            self._condition(pairs),
        )

    def _condition(self, pairs: Sequence[PreferencePair]) -> dict[str, Any]:
        sizes = [pair.preferred.size for pair in pairs] + [pair.rejected.size for pair in pairs]
        return encode_prompts(self._pipe, [pair.prompt for pair in pairs] * 2, sizes=sizes)

    def _indices(self, number: int) -> list[int]:
        """Return the indices of a micro-batch's pairs: one seeded permutation per epoch."""
        count = len(self._pairs)
        positions = range(number * self._batch_size, (number + 1) * self._batch_size)
        return [int(self._order(p // count)[p % count]) for p in positions]

    def _encode(self, index: int, pair: PreferencePair) -> Tensor:
        """Return the latents (2, C, H, W) of a pair: the scaled mode of the VAE's posterior."""
        if self._latents is not None and index in self._latents:
            return self._latents[index]
        vae = self._pipe.vae
        pixels = self._pipe.image_processor.preprocess([pair.preferred, pair.rejected])
        pixels = pixels.to(vae.device, vae.dtype)
        latents: Tensor = vae.encode(pixels).latent_dist.mode() * vae.config.scaling_factor
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


def encode_prompts(
    pipe: DiffusionPipeline,
    prompts: Sequence[str],
    *,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> dict[str, Any]:
    """Return the unet's keyword arguments for prompts.

    Args:
        pipe: A Stable Diffusion 1.x, 2.x or SDXL pipeline.
        prompts: B texts.
        sizes: (width, height) of the B images in pixels, which conditions SDXL; by default the
            pipeline's own size.

    Returns:
        `encoder_hidden_states` (B, tokens, width) and, for SDXL, `added_cond_kwargs`.
    """
    if getattr(pipe, "text_encoder_2", None) is None:
        embeds, _ = pipe.encode_prompt(list(prompts), pipe.device, 1, False)
        return {"encoder_hidden_states": embeds}
    embeds, _, pooled, _ = pipe.encode_prompt(
        list(prompts), device=pipe.device, do_classifier_free_guidance=False
    )
    side = pipe.unet.config.sample_size * pipe.vae_scale_factor
    # original size, crop offset and target size, each as (height, width) or (top, left)
    rows = [[h, w, 0, 0, h, w] for w, h in sizes or [(side, side)] * len(prompts)]
    time_ids = torch.tensor(rows, device=pipe.device, dtype=embeds.dtype)
    added = {"text_embeds": pooled, "time_ids": time_ids}
    return {"encoder_hidden_states": embeds, "added_cond_kwargs": added}
