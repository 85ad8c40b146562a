"""What every training loop here shares: learning-rate schedule, progress lines, moving average."""

from __future__ import annotations

import time

import torch

START = time.monotonic()


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a one-cycle schedule without momentum cycling: short warm-up, cosine to nearly 0."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        total_steps=steps + 1,
        pct_start=0.06,
        cycle_momentum=False,
    )


def take_step(
    loss: torch.Tensor,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    decay: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    """Take one optimiser step of `module` down `loss`, with gradients clipped to norm 1."""
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    decay.step()


def report(name: str, step: int, steps: int, loss: float) -> None:
    """Print one progress line every twentieth of the way."""
    if step % max(1, steps // 20) == 0 or step == steps - 1:
        print(
            f"[{time.monotonic() - START:6.0f} s] {name} {step + 1}/{steps} {loss:.4f}", flush=True
        )


class MovingAverage:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: torch.nn.Module, decay: float):
        self.module, self.decay, self.updates = module, decay, 0
        self.values = [value.detach().clone() for value in module.parameters()]

    def update(self) -> None:
        """Take in the parameters' present values; the first ones count less long."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for mean, value in zip(self.values, self.module.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def copy_to_module(self) -> None:
        """Replace the module's parameters by their averages."""
        with torch.no_grad():
            for mean, value in zip(self.values, self.module.parameters(), strict=True):
                value.copy_(mean)
