"""Diffusion-DPO (arXiv 2311.12908): align a pipeline's denoiser with preferences at strength β.

The loss of one pair is

    −log σ( −β/2 · [ (‖ε − ε_θ(x_w)‖² − ‖ε − ε_ref(x_w)‖²)
                   − (‖ε − ε_θ(x_l)‖² − ‖ε − ε_ref(x_l)‖²) ] )

with per-sample mean squared errors and the same noise and timestep for the preferred (w) and the
rejected (l) image, as the authors' code writes it.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional

from deradiff.dpo.data import NoisedPairSource, PreferencePair

_CHECKPOINT, _RECORD = "checkpoint", "diffusion_dpo.json"

PRESETS: dict[str, dict[str, Any]] = {
    "sdxl": {"accumulation": 128, "steps": 30_000, "warmup": 200},
    "sd15": {"accumulation": 64, "steps": 2_000, "warmup": 500},
}
"""The paper's settings (arXiv 2601.20198, Table 4), at its learning rate of 1e-8 and batch of 1, in
one process: its two SDXL GPUs with an accumulation of 64 are an accumulation of 128 here."""


@dataclasses.dataclass(frozen=True)
class DPOSettings:
    """How to align.

    Attributes:
        beta: β > 0, the KL strength that the anchor will stand for.
        learning_rate: AdamW's, constant after the warm-up.
        batch_size: Pairs per forward pass.
        accumulation: Forward passes per optimiser step.
        steps: Optimiser steps.
        warmup: Optimiser steps over which the learning rate rises linearly.
        seed: Decides the order of pairs, noises and timesteps.
        lora_rank: Rank of LoRA weights on the attention projections; None trains all weights.
        max_grad_norm: Gradients are clipped to this norm.
        checkpoint_every: Optimiser steps between checkpoints.
        cache_latents: Keep every pair's latents in memory instead of encoding it in each epoch.
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
        for name in ("beta", "learning_rate", "batch_size", "accumulation", "steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: expected a number > 0")

    @classmethod
    def preset(cls, name: str, *, beta: float, **overrides: Any) -> DPOSettings:
        """Return the settings of the paper's Table 4 for "sdxl" or "sd15" at strength `beta`."""
        if name not in PRESETS:
            raise ValueError(f"no DPO preset {name!r}: choose one of {sorted(PRESETS)}")
        return cls(beta=beta, **{**PRESETS[name], **overrides})


class DPOStep(NamedTuple):
    """What one optimiser step reports.

    Attributes:
        step: Optimiser steps done, from 1.
        loss: Mean loss of its pairs; log 2 where θ equals the reference.
        accuracy: Share of its pairs that the implicit reward orders as the rater did.
    """

    step: int
    loss: float
    accuracy: float


def diffusion_dpo_loss(
    model_errors: tuple[Tensor, Tensor], reference_errors: tuple[Tensor, Tensor], *, beta: float
) -> tuple[Tensor, Tensor]:
    """Return each pair's loss (arXiv 2311.12908) and whether its implicit margin is positive.

    Args:
        model_errors: (preferred, rejected) per-sample mean squared errors of θ, each (B,).
        reference_errors: The same of the frozen reference.
        beta: β > 0.

    Returns:
        The losses (B,), and a boolean tensor (B,).
    """
    model_difference = model_errors[0] - model_errors[1]
    reference_difference = reference_errors[0] - reference_errors[1]
    margin = -0.5 * beta * (model_difference - reference_difference)
    return -functional.logsigmoid(margin), margin > 0


def train(
    pipe: DiffusionPipeline,
    pairs: Sequence[PreferencePair],
    settings: DPOSettings,
    *,
    output: str | Path,
    progress: Callable[[DPOStep], None] | None = None,
) -> Path:
    """Align a copy of the pipeline's unet and save it as an anchor; the pipeline stays as it was.

    Every draw depends on the seed and the step alone, so a training that was killed and is started
    again with the same arguments continues from its last checkpoint to the same weights; one that
    is finished is not repeated.

    Args:
        pipe: A Stable Diffusion 1.x, 2.x or SDXL pipeline in float32.
        pairs: The preferences; anything with `len` and integer indices.
        settings: β and how to train.
        output: Folder for the anchor: `unet/`, or `pytorch_lora_weights.safetensors`.
        progress: Called after every optimiser step.

    Returns:
        The folder, ready for `deradiff.load_anchor`.

    Raises:
        TypeError: If the pipeline's denoiser is not a unet that predicts noise or velocity.
        ValueError: If `pairs` is empty, or `output` holds a training with other settings or pairs.
    """
    if getattr(pipe, "unet", None) is None:
        raise TypeError(f"{type(pipe).__name__} has no unet: Diffusion-DPO here trains unets only")
    if len(pairs) == 0:
        raise ValueError("no preference pairs given")
    output = Path(output)
    if _recorded(output / _RECORD, _record(settings, pairs)):
        return output
    trainer = _Trainer(pipe, pairs, settings)
    for step in range(trainer.restore(output), settings.steps):
        report = trainer.step(step)
        if progress is not None:
            progress(report)
        if report.step % settings.checkpoint_every == 0:
            trainer.checkpoint(output, report.step)
    trainer.save(output)
    (output / _RECORD).write_text(_record(settings, pairs))
    shutil.rmtree(output / _CHECKPOINT, ignore_errors=True)
    return output


class _Trainer:
    """The denoiser in training, its frozen reference and its optimiser."""

    def __init__(
        self, pipe: DiffusionPipeline, pairs: Sequence[PreferencePair], settings: DPOSettings
    ) -> None:
        self._pipe, self._settings = pipe, settings
        self._told = _record(settings, pairs)
        self._source = NoisedPairSource(
            pipe,
            pairs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            cache_latents=settings.cache_latents,
        )
        self._denoiser = copy.deepcopy(pipe.unet).train()
        if settings.lora_rank is not None:
            self._add_lora(settings.lora_rank)
        named = self._denoiser.named_parameters()
        self._weights = {name: weight for name, weight in named if weight.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), lr=settings.learning_rate, weight_decay=1e-2
        )

    def step(self, step: int) -> DPOStep:
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup))
        losses, hits = [], []
        for micro in range(settings.accumulation):
            batch = self._source.batch(step * settings.accumulation + micro)
            with torch.no_grad(), self._reference() as reference:
                reference_errors = batch.errors(reference)
            loss, hit = diffusion_dpo_loss(
                batch.errors(self._denoiser), reference_errors, beta=settings.beta
            )
            torch.autograd.backward(loss.mean() / settings.accumulation)
            losses.append(loss.detach())
            hits.append(hit.float())
        nn.utils.clip_grad_norm_(self._weights.values(), settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return DPOStep(step + 1, float(torch.cat(losses).mean()), float(torch.cat(hits).mean()))

    def save(self, output: Path) -> None:
        if self._settings.lora_rank is None:
            self._denoiser.eval().save_pretrained(output / "unet")
            return
        from peft.utils import get_peft_model_state_dict

        self._pipe.save_lora_weights(
            output, unet_lora_layers=get_peft_model_state_dict(self._denoiser)
        )

    def checkpoint(self, output: Path, step: int) -> None:
        """Write the state after `step` steps; a kill in between leaves the last one whole."""
        folder = output / _CHECKPOINT
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _RECORD).write_text(self._told)
        state = {
            "step": step,
            "weights": self._weights,
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").replace(folder / "state.pt")

    def restore(self, output: Path) -> int:
        """Load the last checkpoint, if there is one, and return the steps it has done."""
        folder = output / _CHECKPOINT
        if not _recorded(folder / _RECORD, self._told) or not (folder / "state.pt").exists():
            return 0
        state = torch.load(
            folder / "state.pt", weights_only=True, map_location=self._denoiser.device
        )
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    @contextmanager
    def _reference(self) -> Iterator[nn.Module]:
        """Give the frozen reference: the pipeline's own unet, or this one without its LoRA."""
        if self._settings.lora_rank is None:
            yield self._pipe.unet
            return
        self._denoiser.disable_adapters()
        yield self._denoiser
        self._denoiser.enable_adapters()

    def _add_lora(self, rank: int) -> None:
        from peft import LoraConfig

        projections = ["to_q", "to_k", "to_v", "to_out.0"]
        self._denoiser.requires_grad_(False)
        # The random half of LoRA's weights comes from torch's global generator.
        with torch.random.fork_rng():
            torch.manual_seed(self._settings.seed)
            self._denoiser.add_adapter(
                LoraConfig(r=rank, lora_alpha=rank, target_modules=projections)
            )


def _record(settings: DPOSettings, pairs: Sequence[PreferencePair]) -> str:
    """Return what a training depends on, as a line of JSON."""
    return json.dumps({**dataclasses.asdict(settings), "pairs": len(pairs)}, sort_keys=True)


def _recorded(path: Path, record: str) -> bool:
    """Tell whether a training left this record; raise ValueError if it left another."""
    if not path.exists():
        return False
    if path.read_text() != record:
        raise ValueError(
            f"{path.parent} was written with other settings ({path.read_text()}): use these "
            "again, or another output folder"
        )
    return True
