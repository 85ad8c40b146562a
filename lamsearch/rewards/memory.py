"""Memory that runs out: how libraries say so, and what can be freed."""

from __future__ import annotations

import gc

from lamsearch.errors import message_of

_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error says that memory has run out, on the accelerator or the host."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in message_of(error) for sign in _SIGNS)


def free_memory() -> None:
    """Free what failed calls have left; their tracebacks must not be alive any more."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
