"""The worlds, and how far the emulation is from Eq. 4 and from a model aligned from scratch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from deradiff.distances import frechet_distance_of_gaussians
from examples.paper.exact_densities import Normal, guided, realigned_normal
from examples.paper.exact_moments import SAMPLERS, sampled

WORLDS = {
    "equal widths": (Normal.of([0.0], [[1.0]]), Normal.of([1.0], [[1.0]])),
    "aligned narrower": (Normal.of([0.0], [[1.0]]), Normal.of([1.0], [[0.25]])),
    "aligned wider": (Normal.of([0.0], [[1.0]]), Normal.of([1.0], [[1.6]])),
    "plane": (
        Normal.of([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]]),
        Normal.of([1.0, 0.5], [[0.5, -0.2], [-0.2, 0.3]]),
    ),
}
"""Reference and aligned p(x_0). On the plane, the axes of the two covariances differ."""

UNCONDITIONAL = (Normal.of([0.0], [[2.0]]), Normal.of([0.3], [[1.4]]))
"""Reference and aligned distribution for the empty prompt, beside 'aligned narrower'."""

LAMS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5, 2.0)
STEPS = (10, 20, 50, 200)
SCALES = (2.0, 5.0, 7.5)
ANCHORS = (0.05, 0.1, 0.2, 0.5, 1.0)

_ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class Row:
    """One realigned distribution.

    Distances are 2-Wasserstein, in % of that between the reference's and the aligned p(x_0); under
    guidance, of that between what the sampler gives at λ = 0 and 1.

    Attributes:
        world: A key of `WORLDS`.
        sampler: A key of `SAMPLERS`.
        steps: Number of steps.
        guidance_scale: γ; 1 is without guidance.
        anchor: 1, or κ where the aligned model is the world's p[β/κ]: one aligned less.
        lam: λ.
        target_mean: Mean of Eq. 4 along the first axis; of the from-scratch model under guidance.
        target_deviation: Its standard deviation.
        mean: Mean that the emulation gives along the first axis.
        deviation: Its standard deviation.
        to_target: Distance of the emulation from Eq. 4; None under guidance, where Eq. 4 speaks of
            other distributions than the sampler's.
        scratch_to_target: The same for the exact denoiser of Eq. 4 under the same sampler: the
            sampler's own error. None under guidance.
        to_scratch: Distance between these two samplers' results: the emulation's error.
        nearest_lam: The λ' in [−0.2, 2.6] whose Eq. 4 is nearest to the emulation; None under
            guidance.
    """

    world: str
    sampler: str
    steps: int
    guidance_scale: float
    anchor: float
    lam: float
    target_mean: float
    target_deviation: float
    mean: float
    deviation: float
    to_target: float | None
    scratch_to_target: float | None
    to_scratch: float
    nearest_lam: float | None


def measure(
    lams: Sequence[float] = LAMS, steps: Sequence[int] = STEPS, scales: Sequence[float] = SCALES
) -> Iterator[Row]:
    """Yield every world, sampler and number of steps; then weaker anchors; then guidance."""
    weights = torch.tensor(lams, dtype=torch.float64)
    half = torch.tensor([0.5], dtype=torch.float64)
    for world in WORLDS:
        for sampler in SAMPLERS:
            for number in steps:
                yield from unguided(world, weights, sampler=sampler, steps=number)
    for anchor in ANCHORS[:-1]:
        for sampler in ("DDIM", "Euler ancestral"):
            yield from unguided(
                "aligned narrower", half, sampler=sampler, steps=max(steps), anchor=anchor
            )
    for scale in scales:
        for sampler in ("DDIM", "Euler ancestral"):
            yield from guided_rows(scale, weights, sampler=sampler, steps=50)


def unguided(
    world: str, lams: Tensor, *, sampler: str, steps: int, anchor: float = 1.0
) -> Iterator[Row]:
    """Yield one row per λ."""
    reference, aligned = anchored(world, anchor)
    dimension = len(reference.mean)
    target = realigned_normal(reference, aligned, lams)
    models = [reference.denoiser(), aligned.denoiser()]
    emulated = sampled(models, lams, dimension=dimension, sampler=sampler, steps=steps)
    scratch = sampled(
        [target.denoiser(dimension + 1)], lams, dimension=dimension, sampler=sampler, steps=steps
    )
    unit = distance(reference, aligned) / 100
    for i, lam in enumerate(lams.tolist()):
        yield Row(
            world,
            sampler,
            steps,
            1.0,
            anchor,
            lam,
            *_first_axis(one(target, i)),
            *_first_axis(one(emulated, i)),
            to_target=distance(one(emulated, i), one(target, i)) / unit,
            scratch_to_target=distance(one(scratch, i), one(target, i)) / unit,
            to_scratch=distance(one(emulated, i), one(scratch, i)) / unit,
            nearest_lam=_nearest_lam(one(emulated, i), (reference, aligned)),
        )


def anchored(world: str, anchor: float) -> tuple[Normal, Normal]:
    """Return the reference and p[β/κ], the exact model that is aligned κ times as far."""
    reference, aligned = WORLDS[world]
    if anchor == 1:
        return reference, aligned
    weight = torch.tensor([anchor], dtype=torch.float64)
    return reference, one(realigned_normal(reference, aligned, weight), 0)


def guided_rows(scale: float, lams: Tensor, *, sampler: str, steps: int) -> Iterator[Row]:
    """Compare guided emulation and guided from-scratch models, each condition aligned exactly."""
    world = "aligned narrower"
    conditional, unconditional = WORLDS[world], UNCONDITIONAL
    models = [
        guided(c.denoiser(), n.denoiser(), scale)
        for c, n in zip(conditional, unconditional, strict=True)
    ]
    targets = [realigned_normal(*pair, lams) for pair in (conditional, unconditional)]
    from_scratch = guided(targets[0].denoiser(2), targets[1].denoiser(2), scale)
    emulated = sampled(models, lams, dimension=1, sampler=sampler, steps=steps)
    scratch = sampled([from_scratch], lams, dimension=1, sampler=sampler, steps=steps)
    ends = sampled(models, _ENDS, dimension=1, sampler=sampler, steps=steps)
    unit = distance(one(ends, 0), one(ends, 1)) / 100
    for i, lam in enumerate(lams.tolist()):
        yield Row(
            world,
            sampler,
            steps,
            scale,
            1.0,
            lam,
            *_first_axis(one(scratch, i)),
            *_first_axis(one(emulated, i)),
            to_target=None,
            scratch_to_target=None,
            to_scratch=distance(one(emulated, i), one(scratch, i)) / unit,
            nearest_lam=None,
        )


def one(batch: Normal, index: int) -> Normal:
    """Return one Gaussian of a batch."""
    return Normal(batch.mean[index], batch.covariance[index])


def distance(first: Normal, second: Normal) -> float:
    """Return the 2-Wasserstein distance of two Gaussians."""
    squared = frechet_distance_of_gaussians(
        first.mean.numpy(),
        first.covariance.numpy(),
        mean_2=second.mean.numpy(),
        covariance_2=second.covariance.numpy(),
    )
    return float(np.sqrt(squared))


def _first_axis(normal: Normal) -> tuple[float, float]:
    return float(normal.mean[0]), float(normal.covariance[0, 0].sqrt())


def _nearest_lam(emulated: Normal, pair: tuple[Normal, Normal]) -> float:
    def away(lam: float) -> float:
        target = realigned_normal(*pair, torch.tensor([lam], dtype=torch.float64))
        return distance(emulated, one(target, 0))

    return float(minimize_scalar(away, bounds=(-0.2, 2.6), method="bounded").x)
