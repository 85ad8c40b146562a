"""How an anchor's pipeline is loaded, validated before anything is read from disk or the hub."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from diffusers import ConfigMixin, SchedulerMixin, schedulers

DTYPES = ("float32", "float16", "bfloat16")
_SUFFIX = "Scheduler"


class AnchorError(ValueError):
    """An anchor cannot be loaded, or its aligned model has no effect."""


@dataclass(frozen=True)
class PipelineOptions:
    """Options of an anchor's pipeline; None keeps what the reference pipeline has.

    Attributes:
        scheduler: Class name of a diffusers scheduler, built from the stored scheduler's config.
        scheduler_config: Settings that override that config.
        vae: Path or hub id of another VAE.
        dtype: Type of all weights: "float32", "float16" or "bfloat16".
        variant: Variant of the weight files, such as "fp16"; an aligned model without it is loaded
            from its plain files.
        use_safetensors: Whether to refuse pickled weights, which can run any code when loaded.
        strength: What to multiply the change of an aligned LoRA by, > 0; 1 by default.
        file: Name of the aligned model's file in its folder, where there are several.
        config: Folder or hub id of a pipeline with the configuration of a reference that is a
            single file.

    Raises:
        AnchorError: If `dtype` is another one, `scheduler` is not a scheduler of diffusers, or
            `strength` is not a positive number.
    """

    scheduler: str | None = None
    scheduler_config: Mapping[str, Any] = field(default_factory=dict)
    vae: str | None = None
    dtype: str = "float32"
    variant: str | None = None
    use_safetensors: bool = True
    strength: float | None = None
    file: str | None = None
    config: str | None = None

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            expected = f"expected one of {', '.join(DTYPES)}"
            raise AnchorError(
                f"dtype {self.dtype!r} given, {expected}{_did_you_mean(str(self.dtype), DTYPES)}"
            )
        if self.scheduler is not None:
            scheduler_class(self.scheduler)
        if self.strength is not None and not (self.strength > 0 and math.isfinite(self.strength)):
            raise AnchorError(f"strength {self.strength} given, expected a number > 0")


def scheduler_class(name: str) -> Any:
    """Return the diffusers scheduler class of this name.

    Raises:
        AnchorError: If diffusers has no such scheduler, or lacks a package that it needs.
    """
    found = getattr(schedulers, name, None) if isinstance(name, str) else None
    if _is_scheduler(found):
        return found
    # diffusers puts a dummy class in the place of one whose requirements are not installed.
    if requirements := getattr(found, "_backends", None):
        raise AnchorError(
            f"scheduler {name!r} given, but diffusers needs {' and '.join(requirements)} for it: "
            "install what is missing, or choose another scheduler"
        )
    known = [each for each in dir(schedulers) if _is_scheduler(getattr(schedulers, each))]
    raise AnchorError(
        f"scheduler {name!r} given, expected a diffusers scheduler{_did_you_mean(name, known)}"
    )


def _is_scheduler(found: object) -> bool:
    """Return whether this is a scheduler class, and neither their base nor an output or a list."""
    return (
        isinstance(found, type)
        and issubclass(found, SchedulerMixin)
        and issubclass(found, ConfigMixin)
    )


def _did_you_mean(given: object, known: Collection[str]) -> str:
    """Return `; did you mean 'x'?` for the known name nearest to `given`, else an empty string.

    Names that begin with all of `given`, apart from the common suffix, come first, the shortest
    ahead: plain similarity takes "EulerAncestralScheduler" for "LTXEulerAncestralRFScheduler".
    """
    start = str(given).removesuffix(_SUFFIX).lower()
    extended = sorted((n for n in known if start and n.lower().startswith(start)), key=len)
    nearest = extended or difflib.get_close_matches(str(given), known, n=1)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""
