"""Put other code in the place of a scheduler's step, in copies of the scheduler too.

Some pipelines step a copy of their scheduler, as for the sound of a video. A function set on the
scheduler would be copied with it and step the original; so the scheduler gets a class of its own,
as `torch.nn.utils.parametrize` does with modules.
"""

from __future__ import annotations

import copy
import types
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from diffusers import SchedulerMixin

Around = Callable[..., Any]
"""Takes the scheduler, its own step, and the arguments of the call."""

_ORIGINAL = "_deradiff_original"


def replace_step(scheduler: SchedulerMixin, around: Around) -> Callable[[], None]:
    """Let `around` take the place of the scheduler's step, and of its copies' steps.

    Args:
        scheduler: The scheduler. A step that other code has set on it is called by `around`.
        around: What is called instead.

    Returns:
        A function that restores the scheduler. Copies made meanwhile keep the replacement.
    """
    original = type(scheduler)
    set_by_others = vars(scheduler).pop("step", None)

    # With its signature, which pipelines look at to see what the step takes.
    @wraps(original.step)
    def step(self: SchedulerMixin, *args: Any, **kwargs: Any) -> Any:
        own = set_by_others if set_by_others and self is scheduler else partial(original.step, self)
        return around(self, own, *args, **kwargs)

    body = {
        "step": step,
        "__module__": original.__module__,
        "__qualname__": original.__qualname__,
        _ORIGINAL: original,
    }
    scheduler.__class__ = types.new_class(
        original.__name__, (original,), exec_body=lambda space: space.update(body)
    )

    def restore() -> None:
        scheduler.__class__ = original
        if set_by_others:
            scheduler.step = set_by_others

    return restore


def unpatched_copy(scheduler: SchedulerMixin) -> SchedulerMixin:
    """Return a copy whose step is its own class's."""
    copied = copy.deepcopy(scheduler)
    copied.__class__ = getattr(type(scheduler), _ORIGINAL, type(scheduler))
    vars(copied).pop("step", None)
    return copied
