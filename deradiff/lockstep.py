"""Run one pipeline's call several times in lockstep: the calls meet at each scheduler step.

A pipeline's code between the denoiser and the scheduler, its guidance, belongs to the pipeline. To
mix what several models give *after* it, each model runs the whole call in a lane of its own, a
thread. A lane stops where the call hands its prediction to `scheduler.step`. When all lanes have
come there, the predictions are mixed (or the steps are), and every lane goes on from the same
sample. Only one lane runs at a time, in a fixed order, so nothing depends on timing.
"""

from __future__ import annotations

import contextvars
import functools
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor

from deradiff.arrival import Arrival
from deradiff.mixing import InexactMixtureError
from deradiff.random_state import kept_random_state, random_state, set_random_state
from deradiff.replaced_step import replace_step
from deradiff.seeded_steps import Generators, Step, seed_noise, seeded_step

Meeting = Callable[[Sequence[Arrival]], Sequence[Any]]
"""Takes what each lane hands to its scheduler, and returns what each lane's step returns."""


class _Cancelled(BaseException):
    """Raised in a lane that is no longer needed; nothing should catch it."""


class Lane:
    """One call of a pipeline, in a thread, that can be run from one scheduler step to the next.

    Args:
        pipe: A copy of the pipeline that only this lane uses, with a scheduler of its own.
        call: What runs: it takes `pipe`.
        enter: Called whenever the lane is about to run.
        generator: The lane's own generators, in the state in which the call begins.

    Attributes:
        pipe: The copy of the pipeline.
        finished: Whether the call has ended.
        result: What it has returned.
    """

    def __init__(
        self,
        pipe: DiffusionPipeline,
        call: Callable[[DiffusionPipeline], Any],
        *,
        enter: Callable[[], None],
        generator: Generators,
    ) -> None:
        self.pipe, self._call, self._enter = pipe, call, enter
        self._generator = generator
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._arrivals: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._random = random_state()
        self.finished = False
        self.result: Any = None
        context = contextvars.copy_context()
        # A new thread inherits none of these.
        modes = (torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        self._autocast = _autocast_modes()
        work = functools.partial(self._work, *modes, threads=torch.get_num_threads())
        self._thread = threading.Thread(target=context.run, args=(work,), daemon=True)

    def run(self, answer: Any = None) -> Arrival | None:
        """Run until the next scheduler step and return it, or None where the call has ended.

        Args:
            answer: What the step returns that the lane waits at.

        Raises:
            BaseException: What the pipeline's call raises.
        """
        outside = random_state()
        set_random_state(self._random)
        self._enter()
        try:
            if not self._thread.ident:
                self._thread.start()
            else:
                self._answers.put(answer)
            arrival = self._arrivals.get()
        finally:
            self._random = random_state()
            set_random_state(outside)
        if isinstance(arrival, BaseException):
            self.finished = True
            raise arrival
        return arrival if isinstance(arrival, Arrival) else None

    def reseed(self, seed: int) -> None:
        """Begin from another global random state."""
        with kept_random_state():
            torch.manual_seed(seed)
            self._random = random_state()

    def cancel(self) -> None:
        """End the lane where it waits."""
        if self._thread.ident and not self.finished:
            self._answers.put(_Cancelled())
        if self._thread.ident:
            self._thread.join()

    def keep_random_state(self) -> None:
        """Leave the global random state as this lane's call has left it."""
        set_random_state(self._random)

    def _work(self, grad: bool, inference: bool, *, threads: int) -> None:
        torch.set_num_threads(threads)
        seed_noise(self.pipe.scheduler, self._generator)
        replace_step(self.pipe.scheduler, self._arrive)
        try:
            with ExitStack() as stack:
                for mode in self._autocast:
                    stack.enter_context(mode)
                stack.enter_context(torch.inference_mode(inference))
                stack.enter_context(torch.set_grad_enabled(grad))
                self.result = self._call(self.pipe)
        except BaseException as error:
            self._arrivals.put(error)
        else:
            self.finished = True
            self._arrivals.put(None)

    def _arrive(
        self,
        scheduler: SchedulerMixin,
        step: Step,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        *rest: Any,
        **kwargs: Any,
    ) -> Any:
        step, drawn = seeded_step(step, self._generator), self._generator
        self._arrivals.put(
            Arrival(scheduler, step, model_output, timestep, sample, rest, kwargs, drawn)
        )
        answer = self._answers.get()
        if isinstance(answer, _Cancelled):
            raise answer
        return answer


def _autocast_modes() -> list[torch.autocast]:
    return [
        torch.autocast(device, dtype=torch.get_autocast_dtype(device))
        for device in ("cpu", "cuda")
        if torch.is_autocast_enabled(device)
    ]


def run_in_lockstep(lanes: Sequence[Lane], meet: Meeting) -> Any:
    """Run the lanes from step to step until they end, and return the first one's result.

    Args:
        lanes: The calls.
        meet: Decides at each step.

    Raises:
        InexactMixtureError: If the calls are not at the same sample, or do not take the same number
            of steps.
    """
    answers: Sequence[Any] = [None] * len(lanes)
    try:
        while True:
            arrivals = [lane.run(answer) for lane, answer in zip(lanes, answers, strict=True)]
            here = [arrival for arrival in arrivals if arrival is not None]
            if not here:
                lanes[0].keep_random_state()
                return lanes[0].result
            if len(here) < len(lanes):
                raise InexactMixtureError("the models' calls take different numbers of steps")
            _require_same_sample(here)
            _require_same_settings(lanes)
            answers = meet(here)
    finally:
        for lane in lanes:
            lane.cancel()


def _require_same_sample(arrivals: Sequence[Arrival]) -> None:
    first = arrivals[0].sample
    if not all(equal(first, other.sample) for other in arrivals[1:]):
        raise InexactMixtureError(
            "the models' calls have come to different samples: a callback that changes the latents "
            "cannot be used here, and random numbers must come from the images' generators"
        )


def _require_same_settings(lanes: Sequence[Lane]) -> None:
    """Raise if a callback has changed the first call, such as its guidance scale."""
    first, *others = ({k: v for k, v in vars(lane.pipe).items() if _is_plain(v)} for lane in lanes)
    if any(other != first for other in others):
        raise InexactMixtureError(
            "a callback has changed settings of the call, such as the guidance scale, which cannot "
            "be done where each model is guided by itself"
        )


def _is_plain(value: object) -> bool:
    return isinstance(value, bool | int | float | str | None)


def equal(first: Tensor, second: Tensor) -> bool:
    """Return whether two samples are equal, also where they are not finite."""
    return torch.equal(first.nan_to_num(), second.nan_to_num())
