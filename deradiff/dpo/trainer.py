"""Diffusion-DPO training (arXiv 2311.12908): align a pipeline's unet with preferences at β.

Every draw depends on the seed and the step alone, so that a training resumed from its last
checkpoint ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import nn

from deradiff.dpo.data import NoisedPairSource, PreferencePair
from deradiff.dpo.loss import diffusion_dpo_loss
from deradiff.dpo.presets import DPOSettings

_CHECKPOINT, _RECORD = "checkpoint", "diffusion_dpo.json"


class DPOStep(NamedTuple):
    """Report of one optimiser step.

    Attributes:
        step: Number of optimiser steps done, from 1.
        loss: Mean loss of the step's pairs in nats; log 2 where the model equals the reference.
        accuracy: Share of the step's pairs whose preferred image the implicit reward prefers too.
    """

    step: int
    loss: float
    accuracy: float


def train(
    pipe: DiffusionPipeline,
    pairs: Sequence[PreferencePair],
    settings: DPOSettings,
    *,
    output: str | Path,
    progress: Callable[[DPOStep], None] | None = None,
) -> Path:
    """Align a copy of the pipeline's unet and save it as an anchor (arXiv 2311.12908).

    The pipeline is not changed. An interrupted training that is started again with the same
    arguments resumes from its last checkpoint and ends with the same weights; a finished one is
    not repeated.

    Args:
        pipe: A Stable Diffusion 1.x, 2.x or SDXL pipeline in float32.
        pairs: Preference pairs; anything with `len` and integer indices.
        settings: Settings of the training, among them β.
        output: Folder for the anchor, which receives `unet/` or, with LoRA,
            `pytorch_lora_weights.safetensors`.
        progress: Called after every optimiser step.

    Returns:
        The output folder, which `deradiff.load_anchor` takes as `aligned`.

    Raises:
        TypeError: If the pipeline's denoiser is not a unet, or predicts neither noise nor velocity.
        ValueError: If `pairs` is empty, or `output` holds a training with other settings or pairs.
    """
    if getattr(pipe, "unet", None) is None:
        raise TypeError(f"{type(pipe).__name__} has no unet: Diffusion-DPO here trains unets only")
    if len(pairs) == 0:
        raise ValueError("no preference pairs given")
    output = Path(output)
    if _recorded(output / _RECORD, _record(settings, pairs)):
        return output
    trainer = _Trainer(pipe, pairs, settings=settings)
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
    """The denoiser in training, its frozen reference, and its optimiser."""

    def __init__(
        self, pipe: DiffusionPipeline, pairs: Sequence[PreferencePair], *, settings: DPOSettings
    ) -> None:
        self._pipe, self._settings = pipe, settings
        self._record = _record(settings, pairs)
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
        """Take optimiser step `step`, counted from 0, and return its report."""
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
        """Write the trained weights as `load_anchor` reads them."""
        if self._settings.lora_rank is None:
            self._denoiser.eval().save_pretrained(output / "unet")
            return
        from peft.utils import get_peft_model_state_dict

        self._pipe.save_lora_weights(
            output, unet_lora_layers=get_peft_model_state_dict(self._denoiser)
        )

    def checkpoint(self, output: Path, step: int) -> None:
        """Write the state after `step` steps; a kill meanwhile leaves the previous one intact."""
        folder = output / _CHECKPOINT
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _RECORD).write_text(self._record)
        state = {
            "step": step,
            "weights": self._weights,
            "optimizer": self._optimizer.state_dict(),
        }
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").replace(folder / "state.pt")

    def restore(self, output: Path) -> int:
        """Load the last checkpoint, if there is one, and return the number of steps it has done."""
        folder = output / _CHECKPOINT
        if not _recorded(folder / _RECORD, self._record) or not (folder / "state.pt").exists():
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
        """Yield the frozen reference: the pipeline's own unet, or this one without its LoRA."""
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
        # peft draws the random half of LoRA's weights from torch's global generator.
        with torch.random.fork_rng():
            torch.manual_seed(self._settings.seed)
            self._denoiser.add_adapter(
                LoraConfig(r=rank, lora_alpha=rank, target_modules=projections)
            )


def _record(settings: DPOSettings, pairs: Sequence[PreferencePair]) -> str:
    """Return what a training's weights depend on, as one line of JSON."""
    return json.dumps({**dataclasses.asdict(settings), "pairs": len(pairs)}, sort_keys=True)


def _recorded(path: Path, record: str) -> bool:
    """Return whether the file holds this record; raise ValueError if it holds another."""
    if not path.exists():
        return False
    if path.read_text() != record:
        raise ValueError(
            f"{path.parent} was written with other settings ({path.read_text()}): use these "
            "again, or another output folder"
        )
    return True
