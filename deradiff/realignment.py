"""Realign a stock diffusers pipeline: its calls sample from p[β/λ].

The cheapest exact way is taken, as measured by `deradiff.probe` when a call comes with new
settings. Where guidance and the scheduler's step are affine in the model output, a hook on each
denoiser returns Σ weights · model outputs (arXiv 2601.20198, Eq. 7 with equal variances). Elsewhere
the models run in lockstep and their guided predictions or reverse steps are mixed. The pipeline's
code and its scheduler are not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from deradiff.calls import RealignedCalls
from deradiff.denoiser_hook import DenoiserHook
from deradiff.denoisers import denoiser_names, is_denoiser
from deradiff.gaussian import Lam, mixture_weights
from deradiff.mixing import InexactMixtureError
from deradiff.mixture_hook import DenoiserMixture, Weights
from deradiff.probe import Affinity, Effect

__all__ = ["Aligned", "InexactMixtureError", "LamSchedule", "Realignment", "realign"]

Aligned = nn.Module | str | Mapping[str, "nn.Module | str"]
"""An aligned denoiser; the name of a LoRA adapter in the pipeline; or components of the aligned
pipeline by name, where it has several denoisers or text encoders of its own."""

LamSchedule = Callable[[float], "Lam | Sequence[Lam]"]
"""A function that takes the denoiser's timestep as a float and returns λ for that step."""


def realign(
    pipe: DiffusionPipeline,
    aligned: Aligned | Sequence[Aligned],
    lam: Lam | Sequence[Lam] | LamSchedule | Mapping[str, Lam] = 1.0,
    *,
    probe: bool = True,
) -> Realignment:
    """Make `pipe` sample from p[β/λ], the mixture of its own denoiser and `aligned`.

    Args:
        pipe: A diffusers pipeline, whose denoiser is the reference.
        aligned: The aligned denoiser, of the same architecture, which is moved to the pipeline's
            device; or the name of a LoRA adapter loaded in the pipeline, applied on top of the
            other adapters that are active; or a mapping from the pipeline's component names to
            either, which must name every denoiser where there are several, and may name text
            encoders and tokenizers; or several of these (appendix A.4).
        lam: λ: 0 is the reference, 1 the aligned model. A number; a tensor of shape (B,), one
            weight per image of a call; a function of the denoiser's timestep; with several
            aligned models, a sequence of numbers or tensors, one per model; or a mapping from the
            names of the denoisers to any of these.
        probe: Whether to measure, at the first call with new settings, how the models must be
            mixed to be exact. It costs some forward passes for one step. Without it, model outputs
            are mixed, unchecked.

    Returns:
        The attached `Realignment`. Its `lam` can be set at any time; `remove()` detaches it.

    Raises:
        InexactMixtureError: Raised by the pipeline's call where no way to mix is exact.
        TypeError: If the pipeline has no denoiser.
        ValueError: If the pipeline is already realigned, a denoiser has no aligned model, the
            adapter is not loaded, or `lam` does not fit the number of aligned models or is not
            finite.
    """
    return Realignment(pipe, aligned, lam, probe=probe)


class Realignment:
    """One or more aligned models attached to a pipeline; as a context manager, removed on exit.

    Attributes:
        pipe: The pipeline. It samples from the mixture until `remove()` is called.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        aligned: Aligned | Sequence[Aligned],
        lam: Lam | Sequence[Lam] | LamSchedule | Mapping[str, Lam],
        *,
        probe: bool = True,
    ) -> None:
        self.pipe = pipe
        names = denoiser_names(pipe)
        several = [aligned] if isinstance(aligned, nn.Module | str | Mapping) else list(aligned)
        models = [_components(each, names, pipe) for each in several]
        self._models, self._names = len(models), names
        self.lam = lam
        if any(DenoiserHook.is_on(getattr(pipe, name)) for name in names):
            raise ValueError(
                "the pipeline is already realigned: remove() that realignment first, and any hook "
                "put on the denoiser after it"
            )
        self._mixtures: dict[str, DenoiserMixture] = {}
        try:
            for name in names:
                aligned_ones = [model[name] for model in models]
                _require_only_in(pipe, name, aligned_ones)
                self._mixtures[name] = DenoiserMixture(
                    getattr(pipe, name), aligned_ones, self._weights_at(name)
                )
        except Exception:
            for mixture in self._mixtures.values():
                mixture.remove()
            raise
        extras = [{k: v for k, v in model.items() if k not in names} for model in models]
        self._calls = RealignedCalls(pipe, self._mixtures, extras, probe=probe)

    @property
    def lam(self) -> Any:
        """λ, as `realign` takes it. It can be set at any time, even between the steps of a call."""
        return self._lam

    @lam.setter
    def lam(self, lam: Lam | Sequence[Lam] | LamSchedule | Mapping[str, Lam]) -> None:
        if isinstance(lam, Mapping):
            if set(lam) != set(self._names):
                raise ValueError(
                    f"lam given for {', '.join(map(str, lam))}: the denoisers are "
                    f"{', '.join(self._names)}"
                )
            self._lams: dict[str, Any] = dict(lam)
        else:
            self._lams = dict.fromkeys(self._names, lam)
        for each in self._lams.values():
            if not _is_schedule(each):
                mixture_weights(each, self._models)
        self._lam = lam

    def weights(self, timestep: Tensor | float, denoiser: str | None = None) -> tuple[Lam, ...]:
        """Return the weights (1 − Σλ_i, λ_1, ..., λ_K) at a timestep of a denoiser.

        Args:
            timestep: As the denoiser takes it.
            denoiser: Its name in the pipeline; by default the first.
        """
        lam = self._lams[denoiser or self._names[0]]
        if _is_schedule(lam):
            # Where every token has a timestep, those of given images have 0.
            latest = timestep.max() if isinstance(timestep, Tensor) else timestep
            lam = lam(float(latest))
        return mixture_weights(lam, self._models)

    @property
    def way(self) -> str | None:
        """How models were mixed in the latest call, in words; None if only one model ran."""
        return self._calls.way

    @property
    def step_index(self) -> int:
        """Number of the scheduler's steps that the present or latest call has taken."""
        return self._calls.step_index

    def effects(self, *args: Any, **kwargs: Any) -> list[Effect]:
        """Measure, for a call with these arguments, whether each aligned model changes anything."""
        return self._calls.effects(args, kwargs)

    def affinity(self, *args: Any, **kwargs: Any) -> Affinity:
        """Measure how the models must be mixed in a call with these arguments."""
        return self._calls.affinity(args, kwargs)

    def remove(self) -> None:
        """Detach from the pipeline and restore its state. Calling it again has no effect."""
        self._calls.remove()
        for mixture in self._mixtures.values():
            mixture.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _weights_at(self, name: str) -> Weights:
        def weights(timestep: Tensor | float | None) -> tuple[Lam, ...] | None:
            if timestep is not None:
                return self.weights(timestep, name)
            return None if _is_schedule(self._lams[name]) else self.weights(0.0, name)

        return weights


def _require_only_in(pipe: DiffusionPipeline, name: str, aligned: Sequence[Any]) -> None:
    """Raise ValueError if an adapter also changes another component, which stays as it is."""
    adapters = {each for each in aligned if isinstance(each, str)}
    for other, component in pipe.components.items():
        shared = adapters & set(getattr(component, "peft_config", None) or {})
        if other != name and shared and not is_denoiser(component):
            raise ValueError(
                f"adapter {shared.pop()!r} is also loaded in {other}, which realignment cannot "
                "mix: delete it there"
            )


def _is_schedule(lam: object) -> bool:
    return callable(lam) and not isinstance(lam, Tensor)


def _components(aligned: Aligned, names: Sequence[str], pipe: DiffusionPipeline) -> dict[str, Any]:
    """Return the aligned pipeline's components by name, with every denoiser among them."""
    if not isinstance(aligned, Mapping):
        if len(names) > 1:
            raise InexactMixtureError(
                f"{type(pipe).__name__} has {len(names)} denoisers and one aligned model is given: "
                f"give one each, as a mapping with the names {', '.join(names)}"
            )
        return {names[0]: aligned}
    if missing := [name for name in names if name not in aligned]:
        raise InexactMixtureError(
            f"{type(pipe).__name__} has the denoisers {', '.join(names)}, but no aligned model is "
            f"given for {', '.join(missing)}: give one for each"
        )
    if unknown := [name for name in aligned if name not in pipe.components]:
        raise ValueError(f"{type(pipe).__name__} has no component {', '.join(unknown)}")
    return dict(aligned)
