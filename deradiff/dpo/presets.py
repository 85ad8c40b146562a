"""Settings of a Diffusion-DPO training, and those of the paper (arXiv 2601.20198, Table 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

PRESETS: dict[str, dict[str, Any]] = {
    "sdxl": {"accumulation": 128, "steps": 30_000, "warmup": 200},
    "sd15": {"accumulation": 64, "steps": 2_000, "warmup": 500},
}
"""Settings of the paper's Table 4 that differ between models; the learning rate of 1e-8 and the
batch size of 1 are the defaults of `DPOSettings`. They are for one process: the paper's two
GPUs with an accumulation of 64 for SDXL are an accumulation of 128 here."""

Schedule = Literal["constant", "cosine"]
Precision = Literal["bf16"]
TimestepSampling = Literal["logit_normal", "uniform"]

_POSITIVE = ("beta", "learning_rate", "batch_size", "accumulation", "steps", "checkpoint_every")


@dataclass(frozen=True)
class DPOSettings:
    """Settings of a training. The effective batch holds `batch_size * accumulation` pairs.

    Attributes:
        beta: KL strength β > 0 that the anchor is aligned at.
        learning_rate: Learning rate of AdamW after the warm-up.
        learning_rate_beta: The β that `learning_rate` belongs to. At another β the rate is
            `learning_rate * learning_rate_beta / beta`, because the shift away from the reference
            that β asks for shrinks as 1/β: Diffusion-DPO (arXiv 2311.12908) trains at 2.048e-8 for
            β = 2000. None uses `learning_rate` at every β, as the paper does.
        learning_rate_schedule: What follows the warm-up: "constant" keeps the rate, "cosine" lets
            it fall to 0 at `steps`.
        weight_decay: Weight decay of AdamW.
        adam_betas: Decay rates of AdamW's averages of the gradient and of its square.
        ema: Decay per step of an exponential moving average of the trained weights, which is then
            what the anchor holds; the first steps use (1 + step) / (10 + step) where that is less.
            None keeps the last weights.
        batch_size: Pairs per forward pass.
        accumulation: Forward passes per optimiser step.
        steps: Optimiser steps.
        warmup: Optimiser steps over which the learning rate rises linearly.
        seed: Seed of the order of pairs, of the noises and of the timesteps.
        lora_rank: Rank of the LoRA weights on the attention projections; None trains all weights.
        max_grad_norm: Norm that gradients are clipped to.
        checkpoint_every: Optimiser steps between checkpoints.
        cache_latents: Whether to keep every pair's latents in memory instead of encoding its
            images again in each epoch.
        mixed_precision: "bf16" runs both denoisers in bfloat16 where autocast does, with weights,
            errors and loss in float32; None runs them in the precision of their weights.
        gradient_checkpointing: Whether to compute activations again in the backward pass instead
            of keeping them: less memory, the same gradients, about a third more time.
        timestep_sampling: How the timesteps of a flow-matching denoiser are drawn: "logit_normal"
            as in SD3 (arXiv 2403.03206), or "uniform". Those of a unet are always uniform.
        guidance_scale: Guidance that a flow-matching denoiser is told, if it takes it as an input,
            as Flux.1 dev does; others are trained without guidance, which is 1.

    Raises:
        ValueError: If a setting is out of its range.
    """

    beta: float
    learning_rate: float = 1e-8
    learning_rate_beta: float | None = None
    learning_rate_schedule: Schedule = "constant"
    weight_decay: float = 1e-2
    adam_betas: tuple[float, float] = (0.9, 0.999)
    ema: float | None = None
    batch_size: int = 1
    accumulation: int = 64
    steps: int = 2_000
    warmup: int = 500
    seed: int = 0
    lora_rank: int | None = None
    max_grad_norm: float = 1.0
    checkpoint_every: int = 500
    cache_latents: bool = False
    mixed_precision: Precision | None = None
    gradient_checkpointing: bool = False
    timestep_sampling: TimestepSampling = "logit_normal"
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            self._require(name, getattr(self, name) > 0, "a number > 0")
        for name in ("learning_rate_beta", "lora_rank"):
            value = getattr(self, name)
            self._require(name, value is None or value > 0, "a number > 0, or None")
        for name, choices in (
            ("learning_rate_schedule", get_args(Schedule)),
            ("timestep_sampling", get_args(TimestepSampling)),
        ):
            self._require(name, getattr(self, name) in choices, f"one of {', '.join(choices)}")
        self._require("mixed_precision", self.mixed_precision in (None, "bf16"), "bf16, or None")
        self._require("weight_decay", self.weight_decay >= 0, "a number ≥ 0")
        within = len(self.adam_betas) == 2 and all(0 <= decay < 1 for decay in self.adam_betas)
        self._require("adam_betas", within, "two numbers in [0, 1)")
        self._require("ema", self.ema is None or 0 <= self.ema < 1, "a number in [0, 1), or None")

    def _require(self, name: str, valid: bool, expected: str) -> None:
        if not valid:
            raise ValueError(f"{name} = {getattr(self, name)!r}: expected {expected}")

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate after the warm-up, at this β."""
        if self.learning_rate_beta is None:
            return self.learning_rate
        return self.learning_rate * self.learning_rate_beta / self.beta

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of optimiser step `step`, counted from 0."""
        if step < self.warmup:
            return self.peak_learning_rate * (step + 1) / self.warmup
        if self.learning_rate_schedule == "constant":
            return self.peak_learning_rate
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.peak_learning_rate * (1 + math.cos(math.pi * progress)) / 2

    @classmethod
    def preset(cls, name: str, *, beta: float, **overrides: Any) -> DPOSettings:
        """Return the settings of the paper's Table 4 at strength `beta`.

        Args:
            name: "sdxl" or "sd15".
            beta: KL strength β > 0.
            **overrides: Settings that replace those of the paper.

        Raises:
            ValueError: If there is no preset of this name, or a setting is not valid.
        """
        if name not in PRESETS:
            raise ValueError(f"no DPO preset {name!r}: choose one of {sorted(PRESETS)}")
        return cls(beta=beta, **{**PRESETS[name], **overrides})
