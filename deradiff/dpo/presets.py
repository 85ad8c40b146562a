"""Settings of a Diffusion-DPO training, and those of the paper (arXiv 2601.20198, Table 4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "sdxl": {"accumulation": 128, "steps": 30_000, "warmup": 200},
    "sd15": {"accumulation": 64, "steps": 2_000, "warmup": 500},
}
"""Settings of the paper's Table 4 that differ between models; the learning rate of 1e-8 and the
batch size of 1 are the defaults of `DPOSettings`. Training here is one process, so the paper's two
GPUs with an accumulation of 64 for SDXL become an accumulation of 128."""

_POSITIVE = ("beta", "learning_rate", "batch_size", "accumulation", "steps")


@dataclass(frozen=True)
class DPOSettings:
    """Settings of a training. The effective batch holds `batch_size * accumulation` pairs.

    Attributes:
        beta: KL strength β > 0 that the anchor is aligned at.
        learning_rate: Learning rate of AdamW after the warm-up, constant.
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

    Raises:
        ValueError: If a setting that must be positive is not.
    """

    beta: float
    learning_rate: float = 1e-8
    batch_size: int = 1
    accumulation: int = 64
    steps: int = 2_000
    warmup: int = 500
    seed: int = 0
    lora_rank: int | None = None
    max_grad_norm: float = 1.0
    checkpoint_every: int = 500
    cache_latents: bool = False

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a number > 0")

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
