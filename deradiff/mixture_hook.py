"""A denoiser whose forward pass returns the weighted sum of several models' outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from deradiff.adapters import Adapters
from deradiff.attachments import dressed_like, require_own_forwards
from deradiff.denoiser_hook import DenoiserHook
from deradiff.denoisers import has_block_cache, timestep_place
from deradiff.gaussian import Lam
from deradiff.mixing import InexactMixtureError, is_one, is_zero, mix_outputs

Weights = Callable[["Tensor | float | None"], "tuple[Lam, ...] | None"]
"""Takes the denoiser's timestep; for None, returns None unless the weights are constant."""

Instead = Callable[[Any, Callable[[], Any]], Any]
"""Takes the shapes of a denoiser's inputs and a function that runs it, and returns its output."""


class DenoiserMixture:
    """The aligned models attached to one denoiser of a pipeline.

    Args:
        reference: The denoiser.
        aligned: An aligned denoiser each, or the name of a LoRA adapter loaded in the reference.
        weights: Returns the weights of the reference and of each of `aligned`.

    Attributes:
        reference: The denoiser.
        timestep: The timestep of the latest forward pass, as the denoiser takes it. It is not
            read here, since reading it from a GPU waits for all queued work.
        passes: Number of forward passes of the denoiser since the call began.
        latest_weights: The weights in the latest forward pass.
        is_measured_in_calls: Whether the pipeline's calls measure how to mix. Then more than one
            model may have a weight only within them.
        may_mix: Whether more than one model may have a weight.
        fixed: Weights that count instead of `weights`, while a lane runs.
        instead: Called for every output, while a probe or a lane runs.

    Raises:
        ValueError: If an adapter is not loaded.
    """

    def __init__(
        self, reference: nn.Module, aligned: Sequence[nn.Module | str], weights: Weights
    ) -> None:
        self.reference, self._weights = reference, weights
        self._models: list[nn.Module | str | None] = [None, *aligned]
        self._adapters = Adapters(reference, [a for a in aligned if isinstance(a, str)])
        self._dressed: dict[int, nn.Module] = {}
        self.timestep: Tensor | float = 0.0
        self._timestep_name, self._timestep_position = timestep_place(reference)
        self.passes = 0
        self.latest_weights: tuple[Lam, ...] = ()
        self._in_call = self._is_stale = False
        self.may_mix = True
        self.is_measured_in_calls = False
        self.fixed: tuple[Lam, ...] | None = None
        self.instead: Instead | None = None
        self._moved: dict[nn.Module, torch.device] = {}
        self._hook = DenoiserHook(reference, self.forward)

    def begin(self) -> None:
        """Prepare for a call: look again for what is attached to the reference.

        Raises:
            InexactMixtureError: If other code has taken the hook off the denoiser, or replaced the
                forward pass of a module in it.
        """
        self._hook.require_attached()
        require_own_forwards(self.reference)
        self._dressed = {}
        self._adapters.begin()
        self._in_call, self._is_stale = True, False
        self.passes, self.latest_weights = 0, ()

    def look_again(self) -> None:
        """Restore what `begin` has found, and look again for what is attached at the next pass."""
        self._dressed = {}
        self._adapters.end()
        self._is_stale = True

    def end(self) -> None:
        """Restore what `begin` has found."""
        self._in_call = self._is_stale = False
        self._adapters.end()
        for model, device in self._moved.items():
            model.to(device)
        self._moved = {}

    def forward(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the mixture of the models' outputs, or what a probe puts in its place."""
        in_kwargs = self._timestep_name in kwargs
        self.timestep = kwargs[self._timestep_name] if in_kwargs else args[self._timestep_position]
        self.passes += 1
        if not self._in_call:
            self._require_measured()
            self.begin()
            try:
                return self._mixed(args, kwargs)
            finally:
                self.end()
        if self.instead is None:
            return self._mixed(args, kwargs)
        return self.instead(_shapes(args, kwargs), lambda: self._mixed(args, kwargs))

    def _mixed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._is_stale:
            self._adapters.begin()
            self._is_stale = False
        weights = self.latest_weights = self.fixed if self.fixed else self.weights_now()
        # A weight of exactly 0 costs no forward pass.
        active = [(w, m) for w, m in zip(weights, self._models, strict=True) if not is_zero(w)]
        if len(active) > 1:
            self._require_mixable()
        device = next(x.device for x in (*args, *kwargs.values()) if isinstance(x, Tensor))
        outputs = [self._run(model, device, args=args, kwargs=kwargs) for _, model in active]
        if len(active) == 1 and is_one(active[0][0]):
            return outputs[0]
        return mix_outputs([w for w, _ in active], outputs)

    def constant_weights(self) -> tuple[Lam, ...] | None:
        """Return the weights if they are the same at every timestep, else None."""
        return self._weights(None)

    def weights_now(self) -> tuple[Lam, ...]:
        """Return the weights at the timestep of the latest forward pass."""
        weights = self._weights(self.timestep)
        assert weights is not None
        return weights

    def _require_measured(self) -> None:
        if self.is_measured_in_calls and sum(not is_zero(w) for w in self.weights_now()) > 1:
            raise InexactMixtureError(
                "the realigned denoiser is called by other code than its pipeline, such as a "
                "second pipeline with the same components, where whether mixing model outputs is "
                "exact has not been measured: realign that pipeline, or give probe=False"
            )

    def _require_mixable(self) -> None:
        if not self.may_mix:
            raise InexactMixtureError(
                "lam was exactly 0 or 1 when the call began and is not any more: set it before the "
                "call, or give a function of the timestep"
            )
        self.require_no_block_cache()

    def require_no_block_cache(self) -> None:
        """Raise InexactMixtureError if one model would reuse what another has computed."""
        if has_block_cache(self.reference):
            raise InexactMixtureError(
                "a block cache is enabled on the denoiser, and one model would reuse what another "
                "has computed: call disable_cache() on it"
            )

    def _run(
        self, model: nn.Module | str | None, device: torch.device, *, args: Any, kwargs: Any
    ) -> Any:
        """Return a model's output: of the reference, an adapter on it, or another denoiser."""
        if isinstance(model, nn.Module):
            dressed = self._dressed.get(id(model))
            if dressed is None:
                dressed = self._dressed[id(model)] = dressed_like(self.reference, model)
            self._move(dressed, device)
            return dressed(*args, **kwargs)
        self._adapters.select(model)
        return self._hook.original(*args, **kwargs)

    def _move(self, model: nn.Module, device: torch.device) -> None:
        """Move an aligned model, which the pipeline's own offloading does not know."""
        present = next(model.parameters()).device
        if present != device:
            if self._hook.is_offloaded:
                self._moved.setdefault(model, present)
            model.to(device)

    def remove(self) -> None:
        """Detach the models and restore the denoiser."""
        self._hook.remove()
        # Hook and mixture refer to each other: the models' memory is not to wait for the collector.
        self._models, self._dressed = [], {}


def _shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    inputs = [*enumerate(args), *kwargs.items()]
    return tuple((name, _shape(value)) for name, value in inputs)


def _shape(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, list):
        return (len(value),)
    return tuple(value.shape) if isinstance(value, Tensor) else None
