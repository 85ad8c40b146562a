"""Lanes in which a realigned pipeline's call runs under one of its models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any

from diffusers import DiffusionPipeline
from torch import nn

from deradiff.attachments import kept_processors
from deradiff.call_arguments import Arguments, with_generator, without_side_effects
from deradiff.call_copies import lane_pipe
from deradiff.denoisers import uncompiled
from deradiff.gaussian import Lam
from deradiff.lockstep import Lane, run_in_lockstep
from deradiff.mixing import InexactMixtureError
from deradiff.mixture_hook import DenoiserMixture, Instead
from deradiff.probe import Affinity, Effect, Measured
from deradiff.random_state import kept_random_state


class CallLanes:
    """Runs calls of a pipeline under one model each.

    Args:
        pipe: The pipeline.
        mixtures: The mixture on each of its denoisers, by name.
        extras: For each aligned model, the components of its pipeline that are no denoisers.

    Attributes:
        pipeline: The pipeline's class, before its calls were taken over.
        latest: The mixture on the denoiser that ran last.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        mixtures: Mapping[str, DenoiserMixture],
        extras: Sequence[Mapping[str, Any]],
    ) -> None:
        self._pipe, self._mixtures, self._extras = pipe, mixtures, extras
        self.pipeline: Any = type(pipe)
        self.latest = next(iter(mixtures.values()))

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Prepare the denoisers for a call, and restore them afterwards.

        Raises:
            InexactMixtureError: If a denoiser was replaced since the pipeline was realigned.
        """
        for name, mixture in self._mixtures.items():
            if uncompiled(getattr(self._pipe, name)) is not uncompiled(mixture.reference):
                raise InexactMixtureError(
                    f"the pipeline's {name} has been replaced since it was realigned: remove() the "
                    "realignment and realign again"
                )
        processors = [kept_processors(mixture.reference) for mixture in self._mixtures.values()]
        with ExitStack() as stack:
            for mixture, kept in zip(self._mixtures.values(), processors, strict=True):
                stack.callback(mixture.end)
                mixture.begin()
                stack.callback(kept)
            yield

    def probe(
        self, arguments: Arguments, probe: Effect | Affinity, models: Sequence[int], instead: Any
    ) -> None:
        """Run a call under several models, in lockstep, until nothing remains to be measured.

        Args:
            arguments: The call's.
            probe: Where the lanes meet.
            models: The model of each lane; 0 is the reference.
            instead: Takes the lane, the shapes of a denoiser's inputs, and a function that runs
                it; returns the output.
        """
        with kept_random_state(), self.under_way():
            arguments = with_generator(arguments, self.pipeline)
            lanes = [
                self.lane(arguments, model=model, instead=partial(instead, lane))
                for lane, model in enumerate(models)
            ]
            for lane, each in enumerate(lanes):
                each.reseed(lane if probe.seeded else 0)
            with suppress(Measured):
                run_in_lockstep(lanes, probe.meet)

    def lane(self, arguments: Arguments, *, model: int, instead: Instead | None = None) -> Lane:
        """Return a lane in which one model runs: 0 is the reference."""
        pipe = self.pipe_of(model)
        if model or instead:
            arguments = without_side_effects(arguments, self.pipeline)
            pipe.set_progress_bar_config(disable=True)

        def enter() -> None:
            for mixture in self._mixtures.values():
                mixture.fixed = one_hot(model, len(self._extras) + 1)
                mixture.instead = partial(self._note, mixture, instead)

        return Lane(
            pipe,
            lambda own: self.pipeline.__call__(own, **arguments),
            enter=enter,
            generator=arguments.get("generator"),
        )

    def pipe_of(self, model: int) -> DiffusionPipeline:
        """Return a copy of the pipeline with the components of one model's pipeline."""
        own = self._extras[model - 1] if model else {}
        for component in own.values():
            if isinstance(component, nn.Module):
                component.to(self._pipe._execution_device)
        pipe = lane_pipe(self._pipe, own)
        pipe.__class__ = self.pipeline
        return pipe

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Take what the lanes have set off the denoisers at the end."""
        try:
            yield
        finally:
            for mixture in self._mixtures.values():
                mixture.fixed = mixture.instead = None

    def _note(
        self, mixture: DenoiserMixture, instead: Instead | None, shapes: Any, run: Any
    ) -> Any:
        """Note which denoiser runs, and return its output."""
        self.latest = mixture
        return instead(shapes, run) if instead else run()


def one_hot(index: int, length: int) -> tuple[Lam, ...]:
    """Return weights of which one is 1 and the others 0."""
    return tuple(float(i == index) for i in range(length))
