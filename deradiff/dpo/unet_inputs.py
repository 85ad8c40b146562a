"""What a unet of Stable Diffusion 1.x, 2.x or SDXL is trained on: noise or velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import DDPMScheduler, DiffusionPipeline
from torch import Tensor

from deradiff.dpo.noised_pairs import NoisedPairs
from deradiff.dpo.pairs import PreferencePair


class UNetInputs:
    """Noises latents by the scheduler's ᾱ_t and conditions the unet on prompts and sizes.

    Args:
        pipe: A Stable Diffusion 1.x, 2.x or SDXL pipeline.

    Raises:
        TypeError: If the unet predicts neither noise nor velocity.
    """

    def __init__(self, pipe: DiffusionPipeline) -> None:
        self._pipe = pipe
        self._schedule = DDPMScheduler.from_config(pipe.scheduler.config)
        if self._schedule.config.prediction_type not in ("epsilon", "v_prediction"):
            raise TypeError(
                f"prediction_type {self._schedule.config.prediction_type!r}: Diffusion-DPO here "
                "knows epsilon and v_prediction"
            )

    def noised_pairs(
        self,
        latents: Tensor,
        noise: Tensor,
        *,
        pairs: Sequence[PreferencePair],
        generator: torch.Generator,
    ) -> NoisedPairs:
        """Return the unet's inputs at timesteps drawn uniformly."""
        steps = self._schedule.config.num_train_timesteps
        timesteps = torch.randint(steps, (len(pairs),), generator=generator)
        timesteps = timesteps.to(latents.device).repeat(2)
        target = noise
        if self._schedule.config.prediction_type == "v_prediction":
            target = self._schedule.get_velocity(latents, noise, timesteps)
        inputs = self._schedule.add_noise(latents, noise, timesteps)
        return NoisedPairs(inputs, timesteps, target, self._condition(pairs))

    def _condition(self, pairs: Sequence[PreferencePair]) -> dict[str, Any]:
        sizes = [pair.preferred.size for pair in pairs] + [pair.rejected.size for pair in pairs]
        return encode_prompts(self._pipe, [pair.prompt for pair in pairs] * 2, sizes=sizes)


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
