"""The calls of a realigned pipeline: measured once, then mixed in the cheapest exact way."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from diffusers import DiffusionPipeline
from torch import OutOfMemoryError, Tensor

from deradiff.arrival import Arrival
from deradiff.call_arguments import (
    Arguments,
    arguments_of,
    has_callback,
    require_prompts_as_text,
    seeded,
    settings,
    with_generator,
)
from deradiff.call_lanes import CallLanes, one_hot
from deradiff.gaussian import Lam
from deradiff.lockstep import run_in_lockstep
from deradiff.mixed_steps import mixture_of_steps, step_with_mixed_predictions
from deradiff.mixing import InexactMixtureError, is_one, is_zero, require_weight_per_image
from deradiff.mixture_hook import DenoiserMixture
from deradiff.probe import Affinity, Effect, Way


class RealignedCalls:
    """Takes over a pipeline's calls.

    The pipeline gets a class of its own, with another `__call__`, as
    `torch.nn.utils.parametrize` does with modules.

    Args:
        pipe: The pipeline.
        mixtures: The mixture on each of its denoisers, by name.
        extras: For each aligned model, the components of its pipeline that are no denoisers.
        probe: Whether to measure how calls must be mixed.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        mixtures: Mapping[str, DenoiserMixture],
        extras: Sequence[Mapping[str, Any]],
        *,
        probe: bool,
    ) -> None:
        self._pipe, self._mixtures, self._extras, self._probe = pipe, mixtures, extras, probe
        self._class = type(pipe)
        for mixture in mixtures.values():
            mixture.is_measured_in_calls = probe
        self._lanes = CallLanes(pipe, mixtures, extras)
        self._ways: dict[Any, Way] = {}
        self.way: Way | None = None
        self.step_index, self._has_callback = 0, False
        pipe.__class__ = self._taken_over()

    def effects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Effect]:
        """Measure whether the aligned models' outputs differ from the reference's in a call."""
        arguments, found = self._arguments(args, kwargs), []
        # The reference runs again where kernels may not be deterministic.
        again = [] if self._pipe.device.type == "cpu" else [0]
        with self._lanes.begun():
            for model in range(1, len(self._extras) + 1):
                effect = Effect(seeded=arguments.get("generator") is not None)
                self._lanes.probe(arguments, effect, [0, model, *again], effect.output)
                found.append(effect)
        return found

    def affinity(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Affinity:
        """Measure how a call must be mixed."""
        with self._lanes.begun():
            return self._affinity(self._arguments(args, kwargs))

    def remove(self) -> None:
        """Give the pipeline its class back."""
        if getattr(type(self._pipe), "_deradiff_calls", None) is self:
            self._pipe.__class__ = self._class

    def _taken_over(self) -> type:
        call = self._class.__call__

        @wraps(call)
        def realigned_call(pipe: DiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
            if pipe is not self._pipe:
                raise InexactMixtureError(
                    "this is a copy of a realigned pipeline: remove() the realignment before you "
                    "copy it, and realign the copy"
                )
            return self._call(self._arguments(args, kwargs))

        body = {
            "__call__": realigned_call,
            "__module__": self._class.__module__,
            "__qualname__": self._class.__qualname__,
            "_deradiff_calls": self,
        }
        return types.new_class(
            self._class.__name__, (self._class,), exec_body=lambda space: space.update(body)
        )

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        return arguments_of(self._class, self._pipe, args, kwargs)

    def _call(self, arguments: Arguments) -> Any:
        with self._lanes.begun():
            result = self._call_once(arguments)
            if not any(mixture.passes for mixture in self._mixtures.values()):
                raise InexactMixtureError(
                    f"{self._class.__name__} has not called its realigned denoiser: the images are "
                    "not those of the mixture"
                )
            return result

    def _call_once(self, arguments: Arguments) -> Any:
        self.step_index, self._has_callback = 0, has_callback(arguments)
        alone = self._only_model()
        if alone == 0 or (alone is not None and not self._extras[alone - 1]):
            self.way = None
            return self._with_outputs_mixed(arguments, measured=False)
        if alone is not None:
            self.way = None
            return self._with_own_condition(arguments, model=alone)
        self.way = self._way_of(arguments)
        if self.way is Way.OUTPUTS:
            return self._with_outputs_mixed(arguments, measured=True)
        return self._in_lockstep(arguments, self.way)

    def _taken(self, sample: Tensor, by_pipe: bool) -> None:
        """Note a step of the pipeline's scheduler, or of a copy of it."""
        self.step_index += by_pipe
        for mixture in self._mixtures.values():
            require_weight_per_image(mixture.latest_weights, sample)
            if self._has_callback:
                mixture.look_again()

    def _only_model(self) -> int | None:
        """Return the model that alone has a weight throughout the call, if that is known."""
        alone = {_only_one(mixture.constant_weights()) for mixture in self._mixtures.values()}
        return alone.pop() if len(alone) == 1 else None

    def _way_of(self, arguments: Arguments) -> Way:
        own_condition = any(self._extras)
        if own_condition:
            require_prompts_as_text(arguments)
        if not self._probe:
            return Way.GUIDED if own_condition else Way.OUTPUTS
        key = settings(arguments, self._pipe)
        if key not in self._ways:
            affinity = self._affinity(arguments)
            if not affinity.complete:
                return affinity.way
            self._ways[key] = affinity.way
        return self._ways[key]

    def _with_outputs_mixed(self, arguments: Arguments, *, measured: bool) -> Any:
        """Call the pipeline, whose denoisers return mixtures."""
        for mixture in self._mixtures.values():
            mixture.may_mix = measured
        try:
            with seeded(self._pipe.scheduler, arguments.get("generator"), self._taken):
                return self._class.__call__(self._pipe, **arguments)
        finally:
            for mixture in self._mixtures.values():
                mixture.may_mix = True

    def _with_own_condition(self, arguments: Arguments, *, model: int) -> Any:
        """Call one aligned model's own pipeline."""
        require_prompts_as_text(arguments)
        pipe = self._lanes.pipe_of(model)
        with (
            self._lanes.under_way(),
            seeded(pipe.scheduler, arguments.get("generator"), self._taken),
        ):
            for mixture in self._mixtures.values():
                mixture.fixed = one_hot(model, len(self._extras) + 1)
            result = self._class.__call__(pipe, **arguments)
        self._pipe.maybe_free_model_hooks()
        return result

    def _in_lockstep(self, arguments: Arguments, way: Way) -> Any:
        """Call the pipeline once per model and mix where the calls meet."""
        for mixture in self._mixtures.values():
            mixture.require_no_block_cache()
        arguments = with_generator(arguments, self._class)
        models = len(self._extras) + 1
        lanes = [self._lanes.lane(arguments, model=model) for model in range(models)]

        def meet(arrivals: Sequence[Arrival]) -> Sequence[Any]:
            weights, first = self._lanes.latest.weights_now(), arrivals[0]
            require_weight_per_image(weights, first.sample)
            self._taken(first.sample, first.scheduler is lanes[0].pipe.scheduler)
            if way is Way.STEPS:
                return mixture_of_steps(weights, arrivals)
            return step_with_mixed_predictions(weights, arrivals)

        with self._lanes.under_way():
            result = run_in_lockstep(lanes, meet)
        self._pipe.maybe_free_model_hooks()
        return result

    def _affinity(self, arguments: Arguments) -> Affinity:
        """Measure a call with random outputs."""
        affinity = Affinity(seeded=arguments.get("generator") is not None)
        if any(self._extras):
            affinity.of_guidance = False  # each model has a condition of its own
        try:
            self._lanes.probe(arguments, affinity, [0, 0, 0], affinity.output)
        except (InexactMixtureError, OutOfMemoryError):
            raise
        except Exception:
            # Guidance that looks into the denoiser finds nothing there: mixing steps is exact too.
            affinity.of_steps, affinity.complete = False, False
        return affinity


def _only_one(weights: Sequence[Lam] | None) -> int | None:
    """Return the index of the weight that is 1 where all others are 0, else None."""
    counting = [(i, w) for i, w in enumerate(weights or ()) if not is_zero(w)]
    return counting[0][0] if len(counting) == 1 and is_one(counting[0][1]) else None
