"""A call of the pipeline up to its first forward pass, so that what it refuses is known early.

Steps, sizes and settings of a scheduler are checked by diffusers only within the call. Without a
rehearsal a study would already hold them, and a resume with better ones would be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from deradiff.denoisers import denoiser_names
from lamsearch.errors import SettingsError, first_line
from lamsearch.plain_text import shortened

_REFUSALS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError)


class _ReachedError(Exception):
    """The first forward pass of a denoiser was reached."""


def rehearse(pipe: Any, call: Callable[[], object], *, steps: int) -> None:
    """Call a pipeline, and end the call where a denoiser would compute.

    Args:
        pipe: The pipeline.
        call: Calls it with the arguments of the search, for one image.
        steps: Number of denoising steps.

    Raises:
        SettingsError: If the pipeline, or its scheduler, refuses the arguments.
    """
    _require_timesteps(pipe.scheduler, steps)
    denoisers = [getattr(pipe, name) for name in denoiser_names(pipe)]
    hooks = [each.register_forward_pre_hook(_stop) for each in denoisers]
    try:
        call()
    except _ReachedError:
        return
    except _REFUSALS as error:
        raise SettingsError(
            f"the sampling settings do not fit {type(pipe).__name__} with its "
            f"{type(pipe.scheduler).__name__}: {shortened(first_line(error), 300)}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()


def _require_timesteps(scheduler: Any, steps: int) -> None:
    """Refuse more steps than timesteps: some schedulers fail at the last of them."""
    timesteps = scheduler.config.get("num_train_timesteps")
    if timesteps is not None and steps > timesteps:
        raise SettingsError(
            f"steps = {steps} given, expected at most {timesteps}: "
            f"{type(scheduler).__name__} has no more timesteps"
        )


def _stop(*_: object) -> NoReturn:
    raise _ReachedError
