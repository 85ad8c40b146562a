"""Diffusion-DPO training (arXiv 2311.12908): align a pipeline's denoiser with preferences at β.

Every draw depends on the seed and the step alone, so that a training resumed from its last
checkpoint ends with the weights of an uninterrupted one.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from diffusers import DiffusionPipeline
from diffusers.training_utils import EMAModel
from torch import nn

from deradiff.dpo.data import NoisedPairSource
from deradiff.dpo.denoiser import LORA_TARGETS, denoiser_inputs, trainable_denoiser
from deradiff.dpo.loss import diffusion_dpo_loss
from deradiff.dpo.pairs import PreferencePairs
from deradiff.dpo.presets import DPOSettings
from deradiff.dpo.processes import Processes
from deradiff.dpo.record import is_recorded, record

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
    pairs: PreferencePairs,
    settings: DPOSettings,
    *,
    output: str | Path,
    progress: Callable[[DPOStep], None] | None = None,
    accelerator: Accelerator | None = None,
) -> Path:
    """Align a copy of the pipeline's denoiser and save it as an anchor (arXiv 2311.12908).

    The pipeline is not changed. An interrupted training that is started again with the same
    arguments resumes from its last checkpoint and ends with the same weights; a finished one is
    not repeated.

    Args:
        pipe: A pipeline in float32: Stable Diffusion 1.x, 2.x or SDXL, or one with a flow-matching
            scheduler, such as SD3's or Flux's, whose latents come from its VAE. There the errors
            are those of the velocity (Flow-DPO, arXiv 2501.13918, with a constant β).
        pairs: Preference pairs: a list, a `PreferenceFolder`, a `PreferenceParquet`, or anything
            else with `len` and integer indices. One pair is read at a time.
        settings: Settings of the training, among them β.
        output: Folder for the anchor, which receives `unet/` or `transformer/` or, with LoRA,
            `pytorch_lora_weights.safetensors`.
        progress: Called after every optimiser step, in every process.
        accelerator: Under `accelerate launch`, an `Accelerator` whose processes share the work:
            each takes `accumulation` / processes of a step's micro-batches, and the main one
            writes. Put the pipeline on `accelerator.device`.

    Returns:
        The output folder, which `deradiff.load_anchor` takes as `aligned`.

    Raises:
        TypeError: If the pipeline cannot be trained here; the message says why.
        ValueError: If `pairs` is empty, `output` holds a training with other settings or pairs,
            or `accumulation` does not divide among the processes.
    """
    name = trainable_denoiser(pipe, lora=settings.lora_rank is not None)
    if len(pairs) == 0:
        raise ValueError("no preference pairs given")
    output = Path(output)
    if is_recorded(output / _RECORD, record(settings, pairs)):
        return output
    processes = Processes(settings, accelerator)
    trainer = _Trainer(pipe, pairs, name=name, settings=settings, processes=processes)
    first = trainer.restore(output)
    processes.wait()  # none may write a checkpoint before all have read the last one
    for step in range(first, settings.steps):
        report = trainer.step(step)
        if progress is not None:
            progress(report)
        if report.step % settings.checkpoint_every == 0 and processes.is_main:
            trainer.checkpoint(output, report.step)
    if processes.is_main:
        trainer.save(output)
        (output / _RECORD).write_text(record(settings, pairs))
        shutil.rmtree(output / _CHECKPOINT, ignore_errors=True)
    processes.wait()
    return output


class _Trainer:
    """The denoiser in training, its frozen reference, its optimiser and its moving average."""

    def __init__(
        self,
        pipe: DiffusionPipeline,
        pairs: PreferencePairs,
        *,
        name: str,
        settings: DPOSettings,
        processes: Processes,
    ) -> None:
        self._name, self._reference_denoiser = name, getattr(pipe, name)
        self._pipe, self._settings, self._processes = pipe, settings, processes
        self._record = record(settings, pairs)
        self._source = NoisedPairSource(
            pipe,
            pairs,
            batch_size=settings.batch_size,
            seed=settings.seed,
            cache_latents=settings.cache_latents,
            inputs=denoiser_inputs(pipe, name, settings=settings, example=pairs[0]),
        )
        self._denoiser = copy.deepcopy(self._reference_denoiser).train()
        if settings.lora_rank is not None:
            self._add_lora(settings.lora_rank)
        if settings.gradient_checkpointing:
            self._denoiser.enable_gradient_checkpointing()
        named = self._denoiser.named_parameters()
        self._weights = {name: weight for name, weight in named if weight.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._weights.values(), betas=settings.adam_betas, weight_decay=settings.weight_decay
        )
        self._average: EMAModel | None = None
        if settings.ema is not None:
            self._average = EMAModel(self._weights.values(), decay=settings.ema)

    def step(self, step: int) -> DPOStep:
        """Take optimiser step `step`, counted from 0, and return its report."""
        settings = self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(step)
        losses, hits = [], []
        for number in self._processes.micro_batches(step):
            batch = self._source.batch(number)
            # Two contexts, as autocast keeps the weights it has cast: without gradients at first.
            with self._reference() as reference, torch.no_grad(), self._autocast():
                reference_errors = batch.errors(reference)
            with self._autocast():
                errors = batch.errors(self._denoiser)
            loss, hit = diffusion_dpo_loss(errors, reference_errors, beta=settings.beta)
            torch.autograd.backward(loss.mean() / settings.accumulation)
            losses.append(loss.detach())
            hits.append(hit.float())
        self._processes.sum_gradients(self._weights.values())
        nn.utils.clip_grad_norm_(self._weights.values(), settings.max_grad_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.step(self._weights.values())
        mean = self._processes.mean
        return DPOStep(step + 1, mean(torch.cat(losses)), mean(torch.cat(hits)))

    def save(self, output: Path) -> None:
        """Write the trained weights, or their average, as `load_anchor` reads them."""
        if self._average is not None:
            self._average.copy_to(self._weights.values())
        if self._settings.lora_rank is None:
            self._denoiser.eval().save_pretrained(output / self._name)
            return
        from peft.utils import get_peft_model_state_dict

        layers = get_peft_model_state_dict(self._denoiser)
        self._pipe.save_lora_weights(output, **{f"{self._name}_lora_layers": layers})

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
        if self._average is not None:
            state["average"] = self._average.state_dict()
        torch.save(state, folder / "state.tmp")
        (folder / "state.tmp").replace(folder / "state.pt")

    def restore(self, output: Path) -> int:
        """Load the last checkpoint, if there is one, and return the number of steps it has done."""
        folder = output / _CHECKPOINT
        if not is_recorded(folder / _RECORD, self._record) or not (folder / "state.pt").exists():
            return 0
        state = torch.load(
            folder / "state.pt", weights_only=True, map_location=self._denoiser.device
        )
        with torch.no_grad():
            for name, weight in self._weights.items():
                weight.copy_(state["weights"][name])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        return int(state["step"])

    def _autocast(self) -> torch.autocast:
        """Return the context in which the denoisers run."""
        half = self._settings.mixed_precision is not None
        return torch.autocast(self._denoiser.device.type, torch.bfloat16, enabled=half)

    @contextmanager
    def _reference(self) -> Iterator[nn.Module]:
        """Yield the frozen reference: the pipeline's own denoiser, or this one without LoRA."""
        if self._settings.lora_rank is None:
            yield self._reference_denoiser
            return
        self._denoiser.disable_adapters()
        yield self._denoiser
        self._denoiser.enable_adapters()

    def _add_lora(self, rank: int) -> None:
        from peft import LoraConfig

        self._denoiser.requires_grad_(False)
        # peft draws the random half of LoRA's weights from torch's global generator.
        with torch.random.fork_rng():
            torch.manual_seed(self._settings.seed)
            self._denoiser.add_adapter(
                LoraConfig(r=rank, lora_alpha=rank, target_modules=list(LORA_TARGETS))
            )
