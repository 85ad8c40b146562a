"""Mixtures of Gaussians on a plane: what the stepwise mixture does to modes.

The reference has three modes of equal weight. Alignment takes weight from the second and nearly all
of the third, and moves the first. Eq. 4 is normalised on a grid, and the emulation is sampled with
Algorithm 1 (`deradiff.realigned_steps`) from exact denoisers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from deradiff import Guidance, realigned_steps
from examples.paper.exact_densities import NormalMixture
from examples.paper.exact_moments import scheduler

REFERENCE = NormalMixture(
    torch.ones(3).double() / 3,
    torch.tensor([[-1.5, -1.0], [1.5, -1.0], [0.0, 1.6]]).double(),
    variance=0.2,
)
ALIGNED = NormalMixture(
    torch.tensor([0.70, 0.28, 0.02]).double(),
    torch.tensor([[-1.0, -0.8], [1.5, -1.0], [0.0, 1.6]]).double(),
    variance=0.2,
)

HALF_WIDTH = 4.0
CELLS = 160
"""The grid covers [−4, 4]², with cells of 0.05."""

COARSE = 16
"""Cells per axis between which total variation is measured, so that samples fill them."""

BETWEEN = torch.tensor([[-0.4, 0.55]]).double()
"""Centre of a disc of radius 0.4 between the first and the third mode."""


@dataclass(frozen=True)
class PlaneRow:
    """One realigned mixture.

    Attributes:
        sampler: A key of `exact_moments.SAMPLERS`.
        lam: λ.
        target_modes: Shares of the three modes under Eq. 4; a point belongs to the nearest mode of
            the reference.
        modes: The shares of the samples.
        target_between: Share of the disc between two modes under Eq. 4.
        between: The same of the samples.
        variation: Total variation between samples and Eq. 4, in %, over cells of 0.5.
        sampling_variation: What as many exact draws from Eq. 4 show: its floor.
    """

    sampler: str
    lam: float
    target_modes: tuple[float, ...]
    modes: tuple[float, ...]
    target_between: float
    between: float
    variation: float
    sampling_variation: float


def plane_row(lam: float, *, sampler: str, steps: int, samples: int) -> PlaneRow:
    """Return how far the sampled mixture is from Eq. 4 at λ."""
    probabilities = target(lam)
    drawn = emulated(lam, sampler=sampler, steps=steps, samples=samples)
    equal = torch.full((samples,), 1 / samples).double()
    generator = torch.Generator().manual_seed(1)
    cells = torch.multinomial(probabilities.flatten(), samples, True, generator=generator)
    return PlaneRow(
        sampler,
        lam,
        target_modes=_shares(grid(), probabilities.flatten()),
        modes=_shares(drawn, equal),
        target_between=_share_between(grid(), probabilities.flatten()),
        between=_share_between(drawn, equal),
        variation=_variation(drawn, probabilities),
        sampling_variation=_variation(grid()[cells], probabilities),
    )


def grid() -> Tensor:
    """Return the cells' centres, (CELLS², 2), x first."""
    edges = torch.linspace(-HALF_WIDTH, HALF_WIDTH, CELLS + 1).double()
    centres = (edges[1:] + edges[:-1]) / 2
    return torch.cartesian_prod(centres, centres)


def target(lam: float) -> Tensor:
    """Return the probabilities of Eq. 4 in the cells, (CELLS, CELLS)."""
    points = grid()
    logs = (1 - lam) * REFERENCE.log_density(points) + lam * ALIGNED.log_density(points)
    return logs.softmax(0).reshape(CELLS, CELLS)


def emulated(lam: float, *, sampler: str, steps: int, samples: int, seed: int = 0) -> Tensor:
    """Return samples (N, 2) from Algorithm 1."""
    made = scheduler(sampler, steps)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(samples, 2, generator=generator) * made.init_noise_sigma
    models = [REFERENCE.denoiser(), ALIGNED.denoiser()]
    trajectory = realigned_steps(
        models, made, latents, lam=lam, guidance=Guidance({}), generator=generator
    )
    return deque(trajectory, maxlen=1)[0].prev_sample.double()


def histogram(points: Tensor, cells: int) -> Tensor:
    """Return the share of (N, 2) points in each of (cells, cells); those outside are left out."""
    counts = torch.histogramdd(points, cells, range=[-HALF_WIDTH, HALF_WIDTH] * 2).hist
    return counts / len(points)


def _shares(points: Tensor, weights: Tensor) -> tuple[float, ...]:
    nearest = torch.cdist(points, REFERENCE.means).argmin(1)
    shares = torch.zeros(3).double().index_add(0, nearest, weights)
    return tuple(shares.tolist())


def _share_between(points: Tensor, weights: Tensor) -> float:
    return float(weights[torch.cdist(points, BETWEEN)[:, 0] < 0.4].sum())


def _variation(points: Tensor, probabilities: Tensor) -> float:
    size = CELLS // COARSE
    coarse = probabilities.reshape(COARSE, size, COARSE, size).sum((1, 3))
    return float((histogram(points, COARSE) - coarse).abs().sum() / 2 * 100)
