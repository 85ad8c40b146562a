"""Realign a stock diffusers pipeline: its denoiser returns Σ weights · model outputs.

Where the scheduler's mean is affine in the model output and its variance does not depend on the
model, mixing model outputs is the geometric mixture of reverse steps (arXiv 2601.20198, Eq. 7 with
equal variances). Classifier-free guidance is affine too and commutes with it. The pipeline's class,
its call and its scheduler are not changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any, Self

import torch
from diffusers import DiffusionPipeline
from diffusers.hooks import HookRegistry, ModelHook
from torch import Tensor, nn

from deradiff.adapters import Adapters
from deradiff.gaussian import Lam, mixture_weights
from deradiff.reverse_step import LEARNED_VARIANCES

LamSchedule = Callable[[float], "Lam | Sequence[Lam]"]
"""A function that takes the denoiser's timestep as a float and returns λ for that step."""

_HOOK = "deradiff.realignment"
# Prefixes of the names of pipelines whose guidance rescales the prediction by its norm.
_RENORMALISING = ("QwenImage", "Lumina2", "NucleusMoE")


class InexactMixtureError(ValueError):
    """Mixing model outputs would not be the geometric mixture of the reverse steps."""


def denoiser_name(pipe: DiffusionPipeline) -> str:
    """Return the name of the pipeline's denoiser component: "unet" or "transformer"."""
    for name in ("unet", "transformer"):
        if isinstance(getattr(pipe, name, None), nn.Module):
            return name
    raise TypeError(f"{type(pipe).__name__} has neither a unet nor a transformer to realign")


def realign(
    pipe: DiffusionPipeline,
    aligned: nn.Module | str | Sequence[nn.Module | str],
    lam: Lam | Sequence[Lam] | LamSchedule = 1.0,
) -> Realignment:
    """Make `pipe` sample from p[β/λ], the mixture of its own denoiser and `aligned`.

    Args:
        pipe: A diffusers pipeline with affine guidance, whose `unet` or `transformer` is the
            reference.
        aligned: The aligned denoiser, of the same architecture, which is moved to the pipeline's
            device; or the name of a LoRA adapter loaded in the pipeline, applied without any other
            adapter; or several of these (appendix A.4).
        lam: λ: 0 is the reference, 1 the aligned model. A number; a tensor of shape (B,), one
            weight per image of a call; a function of the denoiser's timestep; or, with several
            aligned models, a sequence of numbers or tensors, one per model.

    Returns:
        The attached `Realignment`. Its `lam` can be set at any time; `remove()` detaches it.

    Raises:
        InexactMixtureError: If the pipeline's scheduler clips or thresholds its prediction or
            takes a learned variance, or if the pipeline renormalises its guidance; use
            `deradiff.realigned_steps` there. Raised by the pipeline's call for a
            `guidance_rescale` other than 0.
        TypeError: If the pipeline has no denoiser.
        ValueError: If the pipeline is already realigned, the adapter is not loaded, or `lam` does
            not fit the number of aligned models or is not finite.
    """
    return Realignment(pipe, aligned, lam)


class Realignment:
    """One or more aligned models attached to a pipeline; as a context manager, removed on exit.

    Attributes:
        pipe: The pipeline. It samples from the mixture until `remove()` is called.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        aligned: nn.Module | str | Sequence[nn.Module | str],
        lam: Lam | Sequence[Lam] | LamSchedule,
    ) -> None:
        self.pipe = pipe
        self._reference: nn.Module = getattr(pipe, denoiser_name(pipe))
        several = [aligned] if isinstance(aligned, nn.Module | str) else list(aligned)
        registry = getattr(self._reference, "_diffusers_hook", None)
        if registry is not None and registry.get_hook(_HOOK) is not None:
            raise ValueError(
                "the pipeline is already realigned: remove() that realignment first, and any hook "
                "put on the denoiser after it"
            )
        _require_affine_scheduler(pipe)
        _require_affine_guidance(pipe)
        self._models = len(several)
        self.lam = lam

        self._adapters = Adapters(self._reference, [a for a in several if isinstance(a, str)])
        self._had_registry = registry is not None
        self._had_forward = "forward" in vars(self._reference)
        self._hook = _MixtureHook(self, several)
        registry = HookRegistry.check_if_exists_or_initialize(self._reference)
        registry.register_hook(self._hook, _HOOK)
        self._forward = self._reference.forward

    @property
    def lam(self) -> Lam | Sequence[Lam] | LamSchedule:
        """λ, as `realign` takes it. It can be set at any time, even between the steps of a call."""
        return self._lam

    @lam.setter
    def lam(self, lam: Lam | Sequence[Lam] | LamSchedule) -> None:
        if not callable(lam) or isinstance(lam, Tensor):
            mixture_weights(lam, self._models)
        self._lam = lam

    def weights(self, timestep: Tensor | float) -> tuple[Lam, ...]:
        """Return the weights (1 − Σλ_i, λ_1, ..., λ_K) at a timestep of the denoiser."""
        lam = self._lam
        if callable(lam) and not isinstance(lam, Tensor):
            # Only a function needs the value: reading it from a GPU waits for all queued work.
            first = timestep.flatten()[0] if isinstance(timestep, Tensor) else timestep
            lam = lam(float(first))
        return mixture_weights(lam, self._models)

    def remove(self) -> None:
        """Detach from the pipeline and restore its state. Calling it again has no effect."""
        registry = getattr(self._reference, "_diffusers_hook", None)
        if registry is None or registry.get_hook(_HOOK) is not self._hook:
            return
        if self._hook.active:
            self._adapters.restore()
        # Code that wrapped our forward later, such as accelerate's offloading, still calls it.
        self._hook.active = False
        if vars(self._reference).get("forward") is not self._forward:
            return
        registry.remove_hook(_HOOK, recurse=False)
        if not self._had_forward and not registry.hooks:
            del self._reference.forward
        if not self._had_registry and not registry.hooks:
            del self._reference._diffusers_hook

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class _MixtureHook(ModelHook):  # type: ignore[misc]
    """Replaces the denoiser's output by the weighted sum of all models' outputs."""

    def __init__(self, realignment: Realignment, aligned: Sequence[nn.Module | str]) -> None:
        super().__init__()
        self.active = True
        self._realignment = realignment
        self._aligned = aligned

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if not self.active:
            return self.fn_ref.original_forward(*args, **kwargs)
        weights = self._realignment.weights(kwargs["timestep"] if "timestep" in kwargs else args[1])
        models = [None, *self._aligned]
        # A weight of exactly 0 costs no forward pass.
        active = [
            (w, m) for w, m in zip(weights, models, strict=True) if isinstance(w, Tensor) or w != 0
        ]
        if len(active) > 1:
            _require_affine_scheduler(self._realignment.pipe)
            _require_affine_guidance(self._realignment.pipe)
        device = next(x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        outputs = [self._run(model, device, args=args, kwargs=kwargs) for _, model in active]
        if len(active) == 1 and not isinstance(active[0][0], Tensor) and active[0][0] == 1:
            return outputs[0]
        return _mix([w for w, _ in active], outputs)

    def _run(
        self, model: nn.Module | str | None, device: torch.device, *, args: Any, kwargs: Any
    ) -> Any:
        """Return a model's output: of the reference, an adapter on it, or another denoiser."""
        if isinstance(model, nn.Module):
            # The pipeline's own offloading does not move the aligned model.
            if next(model.parameters()).device != device:
                model.to(device)
            return model(*args, **kwargs)
        self._realignment._adapters.select(model)
        return self.fn_ref.original_forward(*args, **kwargs)


def _mix(weights: Sequence[Lam], outputs: Sequence[Any]) -> Any:
    """Return Σ weights · outputs, of the type that the denoiser returns."""
    samples = [output[0] for output in outputs]
    # In float16 rounding would hide the small differences between two values of λ.
    terms = (_per_image(w, x) * x.float() for w, x in zip(weights, samples, strict=True))
    mixed = reduce(add, terms).to(samples[0].dtype)
    if isinstance(outputs[0], tuple):
        return (mixed, *outputs[0][1:])
    return dataclasses.replace(outputs[0], sample=mixed)


def _per_image(weight: Lam, sample: Tensor) -> Lam:
    """Shape one weight per image for a batch that guidance may have repeated."""
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return weight
    copies, rest = divmod(len(sample), len(weight))
    if rest:
        raise ValueError(
            f"lam has {len(weight)} weights for a batch of {len(sample)}: give one per image"
        )
    return weight.to(sample.device).repeat(copies).reshape(-1, *[1] * (sample.ndim - 1))


def _require_affine_scheduler(pipe: DiffusionPipeline) -> None:
    """Raise InexactMixtureError unless the scheduler's step is affine in the model output."""
    config = pipe.scheduler.config
    reasons = [key for key in ("clip_sample", "thresholding") if config.get(key)]
    if config.get("variance_type") in LEARNED_VARIANCES:
        reasons.append(f"variance_type={config['variance_type']}")
    if reasons:
        raise InexactMixtureError(
            f"{type(pipe.scheduler).__name__} with {', '.join(reasons)} is not affine in the model "
            "output, so mixing outputs is not exact: sample with deradiff.realigned_steps, or use "
            "a scheduler without it, such as EulerAncestralDiscreteScheduler"
        )


def _require_affine_guidance(pipe: DiffusionPipeline) -> None:
    """Raise InexactMixtureError unless the pipeline's guidance is affine in the model output."""
    name = type(pipe).__name__
    if name.startswith(_RENORMALISING):
        raise InexactMixtureError(
            f"{name} renormalises the guided prediction, so mixing outputs is not exact: sample "
            "with deradiff.realigned_steps"
        )
    rescale = getattr(pipe, "_guidance_rescale", 0.0)
    if rescale:
        raise InexactMixtureError(
            f"guidance_rescale = {rescale} is applied after mixing and is not linear: call the "
            "pipeline with guidance_rescale=0, or sample with deradiff.realigned_steps"
        )
