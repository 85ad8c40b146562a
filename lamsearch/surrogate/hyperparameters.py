"""The surrogate's hyperparameters: fixed priors, a fixed grid, quadrature.

| symbol | code | meaning | shape |
|---|---|---|---|
| ℓ | `lengthscale` | of the kernel, in units of the bounds' width | (N,) |
| σ_f² | `outputscale` | variance of the curve about its mean, standardised | (N,) |
| σ_n² | `noise` | variance of the errors whose variance is unknown, standardised | (N,) |
| S | `MEMBERS` | members of the ensemble | number |
| U | | distinct members | number |

Three or four values do not determine ℓ and σ_f, and a maximum-likelihood fit would then be sure of
nonsense. The priors below are fixed; the posterior over a fixed grid is computed by quadrature and
carried as S equally weighted members, as in BoTorch's fully Bayesian models. BoTorch averages
acquisitions over such an ensemble with equal weights, so the grid's posterior probabilities become
multiplicities: members sit at the quantiles (s + ½)/S of the probabilities laid end to end. No
random numbers, no optimiser, no restarts; the same data give the same model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

MEMBERS = 32

LENGTHSCALES = torch.logspace(math.log10(0.08), math.log10(2.0), 12, dtype=torch.float64)
OUTPUTSCALES = torch.logspace(-2, 2, 12, dtype=torch.float64)
NOISES = torch.logspace(-4, 0, 7, dtype=torch.float64)

PRIORS = {"lengthscale": (0.4, 0.7), "outputscale": (1.5, 1.6), "noise": (0.02, 2.0)}
"""Log-normal priors: median and standard deviation of the logarithm."""


class Hyperparameters(NamedTuple):
    """N sets of hyperparameters; units as in the module's table.

    Attributes:
        lengthscale: (N,) ℓ > 0.
        outputscale: (N,) σ_f² > 0.
        noise: (N,) σ_n².
    """

    lengthscale: Tensor
    outputscale: Tensor
    noise: Tensor

    def take(self, index: Tensor) -> Hyperparameters:
        """Return the sets at `index` (S,), which may repeat."""
        return Hyperparameters(*(values[index] for values in self))


class Ensemble(NamedTuple):
    """S equally weighted members, of which only the U distinct ones need be computed.

    Attributes:
        nodes: The U distinct sets of hyperparameters.
        members: (S,) which of them each member has.
        mixture_weights: (U,) share of the members that have each of them.
    """

    nodes: Hyperparameters
    members: Tensor
    mixture_weights: Tensor

    @classmethod
    def from_members(cls, hyperparameters: Hyperparameters) -> Ensemble:
        """Find the distinct ones among the hyperparameters of S members."""
        columns, members, counts = torch.unique(
            torch.stack(hyperparameters), dim=1, return_inverse=True, return_counts=True
        )
        multiplicities = counts.double()
        return cls(Hyperparameters(*columns), members, multiplicities / multiplicities.sum())


def grid(*, inferred_noise: bool) -> Hyperparameters:
    """Return all N nodes of the grid; with the noise known, one value stands for its axis."""
    # A noise that nothing depends on is put at its prior's median, where it costs nothing.
    noises = NOISES if inferred_noise else torch.tensor([PRIORS["noise"][0]], dtype=torch.float64)
    axes = torch.meshgrid(LENGTHSCALES, OUTPUTSCALES, noises, indexing="ij")
    return Hyperparameters(*(axis.flatten() for axis in axes))


def log_prior(nodes: Hyperparameters) -> Tensor:
    """Return the log prior (N,) of the nodes, up to a constant."""
    total = torch.zeros_like(nodes.lengthscale)
    for name, values in nodes._asdict().items():
        median, spread = PRIORS[name]
        total = total - ((values / median).log() / spread).square() / 2
    return total


def equal_weight_members(nodes: Hyperparameters, log_posterior: Tensor) -> Hyperparameters:
    """Return `MEMBERS` of the N nodes, repeated in proportion to exp(log_posterior) (N,)."""
    quantiles = (torch.arange(MEMBERS, dtype=torch.float64) + 0.5) / MEMBERS
    ends = log_posterior.softmax(dim=0).cumsum(dim=0)
    return nodes.take(torch.searchsorted(ends, quantiles).clamp_max(len(ends) - 1))
