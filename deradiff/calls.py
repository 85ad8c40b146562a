"""The calls of a realigned pipeline: measured once, then mixed in the cheapest exact way."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any

from diffusers import DiffusionPipeline
from torch import OutOfMemoryError

from deradiff.call_arguments import (
    Arguments,
    arguments_of,
    require_prompts_as_text,
    seeded,
    settings,
    with_generator,
    without_side_effects,
)
from deradiff.gaussian import Lam
from deradiff.lockstep import Arrival, Lane, lane_pipe, run_in_lockstep
from deradiff.mixed_steps import mixture_of_steps, step_with_mixed_predictions
from deradiff.mixing import InexactMixtureError, is_one, is_zero
from deradiff.mixture_hook import DenoiserMixture, Instead
from deradiff.probe import Affinity, Effect, Measured, Way
from deradiff.random_state import kept_random_state


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
        self._latest = next(iter(mixtures.values()))
        self._ways: dict[Any, Way] = {}
        self.way: Way | None = None
        pipe.__class__ = self._taken_over()

    def effects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Effect]:
        """Measure whether the aligned models' outputs differ from the reference's in a call."""
        arguments, found = self._arguments(args, kwargs), []
        self._refresh()
        for model in range(1, len(self._extras) + 1):
            effect = Effect(seeded=arguments.get("generator") is not None)
            self._run_probe(arguments, effect, [0, model, 0], effect.output)
            found.append(effect)
        return found

    def affinity(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Affinity:
        """Measure how a call must be mixed."""
        return self._affinity(self._arguments(args, kwargs))

    def remove(self) -> None:
        """Give the pipeline its class back."""
        if getattr(type(self._pipe), "_deradiff_calls", None) is self:
            self._pipe.__class__ = self._class

    def _taken_over(self) -> type:
        call = self._class.__call__

        @wraps(call)
        def realigned_call(pipe: DiffusionPipeline, *args: Any, **kwargs: Any) -> Any:
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
        self._refresh()
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

    def _refresh(self) -> None:
        for mixture in self._mixtures.values():
            mixture.refresh()

    def _only_model(self) -> int | None:
        """Return the model that alone has a weight throughout the call, if that is known."""
        constant = [mixture.constant_weights() for mixture in self._mixtures.values()]
        alone = {
            next((i for i, w in enumerate(weights) if is_one(w)), None)
            for weights in constant
            if weights is not None and sum(not is_zero(w) for w in weights) == 1
        }
        complete = all(w is not None and sum(not is_zero(x) for x in w) == 1 for w in constant)
        return alone.pop() if complete and len(alone) == 1 else None

    def _way_of(self, arguments: Arguments) -> Way:
        own_condition = any(self._extras)
        if own_condition:
            require_prompts_as_text(arguments)
        if not self._probe:
            return Way.GUIDED if own_condition else Way.OUTPUTS
        key = settings(arguments), type(self._pipe.scheduler), repr(self._pipe.scheduler.config)
        if key not in self._ways:
            self._ways[key] = self._affinity(arguments).way
        return self._ways[key]

    def _with_outputs_mixed(self, arguments: Arguments, *, measured: bool) -> Any:
        """Call the pipeline, whose denoisers return mixtures."""
        for mixture in self._mixtures.values():
            mixture.may_mix = measured
        try:
            with seeded(self._pipe.scheduler, arguments.get("generator")):
                return self._class.__call__(self._pipe, **arguments)
        finally:
            for mixture in self._mixtures.values():
                mixture.may_mix = True

    def _with_own_condition(self, arguments: Arguments, *, model: int) -> Any:
        """Call one aligned model's own pipeline."""
        require_prompts_as_text(arguments)
        pipe = self._pipe_of(model)
        with self._under_way(), seeded(pipe.scheduler, arguments.get("generator")):
            for mixture in self._mixtures.values():
                mixture.fixed = _one_hot(model, len(self._extras) + 1)
            return self._class.__call__(pipe, **arguments)

    def _in_lockstep(self, arguments: Arguments, way: Way) -> Any:
        """Call the pipeline once per model and mix where the calls meet."""
        arguments = with_generator(arguments, self._class)
        models = len(self._extras) + 1
        lanes = [self._lane(arguments, model=model) for model in range(models)]

        def meet(arrivals: Sequence[Arrival]) -> Sequence[Any]:
            weights = self._latest.weights_now()
            if way is Way.STEPS:
                return mixture_of_steps(weights, arrivals, lanes[0].pipe.scheduler)
            return step_with_mixed_predictions(weights, arrivals)

        with self._under_way():
            return run_in_lockstep(lanes, meet)

    def _affinity(self, arguments: Arguments) -> Affinity:
        """Measure a call with random outputs."""
        affinity = Affinity(seeded=arguments.get("generator") is not None)
        if any(self._extras):
            affinity.of_guidance = False  # each model has a condition of its own
        try:
            self._run_probe(arguments, affinity, [0, 0, 0], affinity.output)
        except (InexactMixtureError, OutOfMemoryError):
            raise
        except Exception:
            # Guidance that looks into the denoiser finds nothing there: mixing steps is exact too.
            affinity.of_steps = False
        return affinity

    def _run_probe(
        self, arguments: Arguments, probe: Effect | Affinity, models: Sequence[int], instead: Any
    ) -> None:
        with kept_random_state(), self._under_way():
            arguments = with_generator(arguments, self._class)
            lanes = [
                self._lane(arguments, model=model, instead=partial(instead, lane))
                for lane, model in enumerate(models)
            ]
            for lane, each in enumerate(lanes):
                each.reseed(lane if probe.seeded else 0)
            with suppress(Measured):
                run_in_lockstep(lanes, lambda found: probe.meet(found, lanes[0].pipe.scheduler))

    def _lane(self, arguments: Arguments, *, model: int, instead: Instead | None = None) -> Lane:
        """Return a lane in which one model runs: 0 is the reference."""
        pipe = self._pipe_of(model)
        if model or instead:
            arguments = without_side_effects(arguments, self._class)
            pipe.set_progress_bar_config(disable=True)

        def enter() -> None:
            for mixture in self._mixtures.values():
                mixture.fixed = _one_hot(model, len(self._extras) + 1)
                mixture.instead = partial(self._note, mixture, instead)

        return Lane(
            pipe,
            lambda own: self._class.__call__(own, **arguments),
            enter=enter,
            generator=arguments.get("generator"),
        )

    def _pipe_of(self, model: int) -> DiffusionPipeline:
        """Return a copy of the pipeline with the components of one model's pipeline."""
        pipe = lane_pipe(self._pipe, self._extras[model - 1] if model else {})
        pipe.__class__ = self._class
        return pipe

    def _note(
        self, mixture: DenoiserMixture, instead: Instead | None, shapes: Any, run: Any
    ) -> Any:
        """Note which denoiser runs, and return its output."""
        self._latest = mixture
        return instead(shapes, run) if instead else run()

    @contextmanager
    def _under_way(self) -> Iterator[None]:
        try:
            yield
        finally:
            for mixture in self._mixtures.values():
                mixture.fixed = mixture.instead = None


def _one_hot(index: int, length: int) -> tuple[Lam, ...]:
    return tuple(float(i == index) for i in range(length))
