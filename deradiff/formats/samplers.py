"""Whether a whole aligned pipeline is sampled as the reference's is, beyond the noise schedule.

The reference's sampler is used for both models. Another class of sampler is the user's choice and
says nothing of the model, so it is only reported. A setting of the same class, such as the spacing
of the noise levels or an offset of the steps, is what the aligned model was tuned or judged with.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from deradiff.formats.weights import some
from deradiff.options import AnchorError

# What defines the noise schedule is compared by what it computes (`noise_schedules`).
_NOISE = {"beta_start", "beta_end", "beta_schedule", "trained_betas"}
# Of calls that are compared: few steps and enough for what only the one or the other takes.
_STEPS = (6, 20)
_FAILURES = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, AssertionError)

_log = logging.getLogger("deradiff")


def require_same_sampler(reference: Any, aligned: Any, *, chosen: Collection[str] = ()) -> None:
    """Raise AnchorError if two samplers of one class have settings that sample differently.

    Args:
        reference: The scheduler stored with the reference.
        aligned: The scheduler stored with the aligned pipeline.
        chosen: Settings that the user chose for both, which are not compared.
    """
    if type(reference) is not type(aligned):
        _log.info(
            "the aligned pipeline's %s is not used: both models are sampled with the reference's "
            "scheduler",
            type(aligned).__name__,
        )
        return
    names = inspect.signature(type(aligned).__init__).parameters.keys() - {"self", *_NOISE}
    ours, theirs = reference.config, aligned.config
    differing = sorted(
        name
        for name in names - set(chosen)
        if name in ours and name in theirs and _plain(ours[name]) != _plain(theirs[name])
    )
    # Some settings count only together with others: thresholds, say, with thresholding.
    if not differing or _sample_alike(reference, aligned, chosen):
        return
    name = differing[0]
    also = f" ({some(differing[1:])} too)" if differing[1:] else ""
    raise AnchorError(
        f"{name} differs{also}: the reference has {ours[name]}, the aligned model {theirs[name]}, "
        f"so that λ = 1 would not sample as the aligned pipeline does: set {name} in "
        "`scheduler_config` for both, or give the denoiser's folder alone"
    )


def _plain(value: Any) -> Any:
    # A flag that an older configuration lacks is off.
    return None if value is False else list(value) if isinstance(value, (list, tuple)) else value


def _sample_alike(reference: Any, aligned: Any, chosen: Collection[str]) -> bool:
    """Return whether two schedulers of one class take the same steps from the same outputs."""
    kind = type(reference)
    shared = {name: reference.config[name] for name in chosen if name in reference.config}
    both = [kind.from_config(each.config, **shared) for each in (reference, aligned)]
    try:
        return all(
            torch.equal(*(_sampled(kind.from_config(each.config), steps) for each in both))
            for steps in _STEPS
        )
    except _FAILURES:  # its call is of another kind: the settings decide
        return False


def _sampled(scheduler: Any, steps: int) -> Tensor:
    """Return the samples of all steps, with random model outputs that are large enough to clip."""
    generator = torch.Generator().manual_seed(0)
    dynamic = {"mu": 0.8} if scheduler.config.get("use_dynamic_shifting") else {}
    scheduler.set_timesteps(steps, **dynamic)
    takes = inspect.signature(scheduler.step).parameters
    extra = {"generator": generator} if "generator" in takes else {}
    scale = float(getattr(scheduler, "init_noise_sigma", 1.0))
    sample = scale * torch.randn(1, 4, 8, 8, generator=generator)
    samples = [scheduler.timesteps.double()]
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            sample = scheduler.scale_model_input(sample, timestep)
        output = 3 * torch.randn(sample.shape, generator=generator)
        sample = scheduler.step(output, timestep, sample, **extra).prev_sample
        samples.append(sample.double().flatten())
    return torch.cat(samples)
