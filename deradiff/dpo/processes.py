"""A training on several processes: who takes which micro-batch, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import Tensor

from deradiff.dpo.presets import DPOSettings

_BUCKET = 10_000_000
"""Number of gradients that are summed at once: few messages, little memory beside the model."""


class Processes:
    """The processes of an accelerator, or this one alone.

    An optimiser step takes `settings.accumulation` micro-batches however many processes there are.
    Each takes an equal share of them, and the gradients are summed once per step, so a training
    gives the weights of one process up to the rounding of that sum.

    Args:
        settings: Settings of the training.
        accelerator: The accelerator; None for this process alone.

    Raises:
        ValueError: If the micro-batches of a step cannot be shared equally, or the accelerator's
            precision is not that of the settings.
    """

    def __init__(self, settings: DPOSettings, accelerator: Accelerator | None) -> None:
        self._accelerator = accelerator
        self.count = accelerator.num_processes if accelerator else 1
        self.is_main = accelerator.is_main_process if accelerator else True
        self._index = accelerator.process_index if accelerator else 0
        self._accumulation = settings.accumulation
        if self._accumulation % self.count:
            raise ValueError(
                f"accumulation = {self._accumulation} does not divide among {self.count} processes"
            )
        precision = accelerator.mixed_precision if accelerator else "no"
        if precision not in ("no", settings.mixed_precision):
            raise ValueError(
                f"the accelerator has mixed_precision {precision!r} and the settings "
                f"{settings.mixed_precision!r}: leave it to the settings"
            )

    def micro_batches(self, step: int) -> range:
        """Return the numbers of this process's micro-batches in optimiser step `step`."""
        first = step * self._accumulation
        return range(first + self._index, first + self._accumulation, self.count)

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over the processes."""
        if self._accelerator is None or self.count == 1:
            return
        for gradients in _buckets(weight.grad for weight in weights if weight.grad is not None):
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            summed = self._accelerator.reduce(flat, reduction="sum")
            parts = summed.split([gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))

    def mean(self, values: Tensor) -> float:
        """Return the mean of the values (n,) of all processes."""
        if self._accelerator is not None:
            values = self._accelerator.gather(values)
        return float(values.mean())

    def wait(self) -> None:
        """Wait until every process is here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield the tensors, in order, in groups of one precision.

    A group has at most `_BUCKET` numbers, or a single tensor.
    """
    group: list[Tensor] = []
    for tensor in tensors:
        held = sum(each.numel() for each in group)
        if group and (tensor.dtype != group[0].dtype or held + tensor.numel() > _BUCKET):
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group
