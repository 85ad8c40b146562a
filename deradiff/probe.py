"""Measure how a pipeline's call must be mixed to be exact, and whether λ has an effect at all.

The call runs in lockstep (`deradiff.lockstep`), always from the samples of its first lane.

*Effect*: the reference, the aligned model, and on a GPU, some of whose kernels are not
deterministic, the reference again, until the first step at which the outputs of the two models
differ by more than those of the reference do.

*Affinity*: random tensors take the place of the models' outputs, x and y in two lanes and their
mean in the third, through all steps of the call. What the pipeline hands to its scheduler in the
third lane is the mean of the other two if guidance is affine in the model output; then mixing model
outputs is exact, and otherwise each model must be guided before they are mixed. It costs no
forward pass. If the scheduler's step is not affine either, the steps themselves must be mixed
(arXiv 2601.20198, Theorem 1).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from deradiff.arrival import Arrival
from deradiff.lockstep import equal
from deradiff.mixing import InexactMixtureError, map_tensors, mix_outputs, prediction_of
from deradiff.step_properties import noise_is_per_image, step_is_affine

_TOLERANCE = 1e-3
"""Deviation from affinity, relative to the predictions, above which guidance is not affine."""


Run = Callable[[], Any]
"""Runs a denoiser and returns its output."""


class Measured(Exception):  # noqa: N818 - not an error
    """Ends the calls of a probe."""


class Way(StrEnum):
    """How reference and aligned model are mixed."""

    OUTPUTS = "model outputs mixed"
    GUIDED = "guided, then mixed"
    STEPS = "reverse steps mixed"


@dataclass
class Effect:
    """Reference, aligned model and maybe the reference again meet here, until an effect is found.

    Attributes:
        seeded: Whether the call has generators, which its noise is then expected to obey.
        passes: Number of the denoisers' forward passes.
        found: Whether the outputs of the two models differ at some step.
        finite: Whether the aligned model's outputs were finite.
    """

    seeded: bool
    passes: int = 0
    found: bool = False
    finite: bool = True
    _outputs: dict[int, list[Tensor]] = field(default_factory=lambda: defaultdict(list))

    def output(self, lane: int, shapes: Any, run: Run) -> Any:
        """Return a denoiser's output in a lane, and note it."""
        output = run()
        self.passes += 1
        self._outputs[lane].extend(_tensors(output))
        return output

    def meet(self, arrivals: Sequence[Arrival]) -> Sequence[Any]:
        """Compare the outputs, and take the step with the reference's prediction in all lanes.

        Raises:
            Measured: If an effect was found.
            InexactMixtureError: If noise does not obey the images' generators.
        """
        reference, aligned, again = (self._outputs.pop(lane, []) for lane in range(3))
        self.finite = all(bool(x.isfinite().all()) for x in aligned)
        self.found = _distance(reference, aligned) > _distance(reference, again)
        answers = same_step(arrivals, seeded=self.seeded)
        if self.found or not self.finite:
            raise Measured
        return answers


@dataclass
class Affinity:
    """Calls with random outputs, and with their mean, meet here.

    Attributes:
        seeded: Whether the call has generators, which its noise is then expected to obey.
        passes: Number of the denoisers' forward passes, of which one shows an output's form.
        of_guidance: Whether what the pipeline does with model outputs is affine in them.
        of_steps: Whether the scheduler's steps are affine in the predictions.
        complete: Whether the calls came to their end.
    """

    seeded: bool
    passes: int = 0
    of_guidance: bool = True
    of_steps: bool | None = None
    complete: bool = True
    _drawn: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    _forms: dict[Any, Any] = field(default_factory=dict)

    @property
    def way(self) -> Way:
        """The cheapest way that is exact."""
        if self.of_steps is False:
            return Way.STEPS
        return Way.OUTPUTS if self.of_guidance else Way.GUIDED

    def output(self, lane: int, shapes: Any, run: Run) -> Any:
        """Return the random output of a denoiser in a lane.

        Args:
            lane: 0 and 1 are independent, 2 has their mean.
            shapes: The shapes of the denoiser's inputs, which determine those of its output.
            run: Runs the denoiser.
        """
        if shapes not in self._forms:
            self.passes += 1
            self._forms[shapes] = run()
        self._drawn[lane] += 1
        form, seed = self._forms[shapes], 2 * self._drawn[lane]
        drawn = [_random_like(form, seed + i) for i in range(2)]
        return drawn[lane] if lane < 2 else mix_outputs([0.5, 0.5], drawn)

    def meet(self, arrivals: Sequence[Arrival]) -> Sequence[Any]:
        """Compare the predictions, and take the step with the first in all lanes.

        Raises:
            Measured: If nothing remains to be measured.
            InexactMixtureError: If noise does not obey the images' generators.
        """
        if self.of_steps is None:
            _require_noise_per_image(arrivals[0], seeded=self.seeded)
            self.of_steps = step_is_affine(arrivals[0])
        predictions = torch.stack([a.model_output.float() for a in arrivals])
        deviation = (predictions[2] - predictions[:2].mean(dim=0)).abs().max()
        self.of_guidance &= bool(deviation <= _TOLERANCE * predictions.abs().max())
        answers = same_step(arrivals, seeded=self.seeded)
        if self.way is not Way.OUTPUTS:
            raise Measured
        return answers


def same_step(arrivals: Sequence[Arrival], *, seeded: bool) -> Sequence[Any]:
    """Take the step with the first lane's prediction in all lanes.

    The lanes have generators in the same state, but the global random state differs.

    Raises:
        InexactMixtureError: If the lanes' samples then differ, although the call is seeded.
    """
    prediction = arrivals[0].model_output.to(arrivals[0].sample.dtype)
    answers = []
    for arrival in arrivals:
        if not seeded:
            torch.manual_seed(0)
        answers.append(arrival.with_output(prediction))
    first = prediction_of(answers[0])
    if not all(equal(first, prediction_of(other)) for other in answers[1:]):
        raise _disobedient(arrivals[0].scheduler)
    return answers


def _require_noise_per_image(arrival: Arrival, *, seeded: bool) -> None:
    """Raise unless an image's first step is independent of the other images of its batch."""
    if seeded and not noise_is_per_image(arrival):
        raise _disobedient(arrival.scheduler)


def _disobedient(scheduler: Any) -> InexactMixtureError:
    return InexactMixtureError(
        f"{type(scheduler).__name__} draws noise that ignores the images' generators, so images at "
        "two λs could not be compared: use another scheduler"
    )


def _random_like(output: Any, seed: int) -> Any:
    """Return standard normal values in float32, in the form of an output."""
    generator = torch.Generator().manual_seed(seed)
    return map_tensors(lambda x: torch.randn(x.shape, generator=generator).to(x.device), output)


def _tensors(output: Any) -> list[Tensor]:
    prediction = prediction_of(output)
    tensors = [prediction] if isinstance(prediction, Tensor) else list(prediction)
    return [x.detach().float() for x in tensors]


def _distance(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    pairs = list(zip(first, second, strict=False))
    return max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
