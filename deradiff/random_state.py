"""The global random state, of the CPU and of every GPU in use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

RandomState = tuple[Tensor, list[Tensor]]


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore the global random state at the end."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


def _uses_cuda() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def random_state() -> RandomState:
    """Return the present state."""
    devices = torch.cuda.get_rng_state_all() if _uses_cuda() else []
    return torch.get_rng_state(), devices


def set_random_state(state: RandomState) -> None:
    """Restore a state."""
    cpu, devices = state
    torch.set_rng_state(cpu)
    if devices:
        torch.cuda.set_rng_state_all(devices)
