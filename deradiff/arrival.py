"""What a call of a pipeline hands to its scheduler's step, where calls in lockstep meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers import SchedulerMixin
from torch import Tensor

from deradiff.seeded_steps import Generators, Step


@dataclass(frozen=True)
class Arrival:
    """A lane's call of `scheduler.step`.

    Attributes:
        scheduler: The lane's own scheduler, or a copy of it that the pipeline has made.
        step: Its step.
        model_output: The guided prediction.
        timestep: The scheduler's timestep.
        sample: x_t, the same in all lanes.
        rest: Further positional arguments.
        kwargs: Keyword arguments.
        generator: The lane's generators.
    """

    scheduler: SchedulerMixin
    step: Step
    model_output: Tensor
    timestep: Any
    sample: Tensor
    rest: tuple[Any, ...]
    kwargs: dict[str, Any]
    generator: Generators = None

    @property
    def own_kwargs(self) -> dict[str, Any]:
        """The keyword arguments that are the step's own, such as `eta`."""
        of_the_call = ("generator", "return_dict")
        return {name: value for name, value in self.kwargs.items() if name not in of_the_call}

    def with_output(self, model_output: Tensor) -> Any:
        """Return what the lane's scheduler returns for another prediction."""
        return self.step(model_output, self.timestep, self.sample, *self.rest, **self.kwargs)
