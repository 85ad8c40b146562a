"""The surrogate's hyperparameters: fixed priors, a fixed grid, quadrature.

Three or four values do not determine ℓ and σ_f, and a maximum-likelihood fit is
then sure of nonsense. The priors below are fixed; the posterior over a fixed grid is computed by
quadrature and carried as S equally weighted members, a batch dimension in the manner of BoTorch's
fully Bayesian models. BoTorch averages acquisitions over such an ensemble with equal weights, so
the grid's weights become multiplicities: members sit at the quantiles (s + ½)/S of the weights
laid end to end. No random numbers, no optimiser, no restarts; the same data, the same model.
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
    """One value for each of S members; scales as in the module's table.

    Attributes:
        lengthscale: (S,) ℓ > 0, in units of the bounds' width.
        outputscale: (S,) σ_f² > 0, standardised.
        noise: (S,) σ_n² of the values whose variance is unknown, standardised.
    """

    lengthscale: Tensor
    outputscale: Tensor
    noise: Tensor


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


def equal_weight_members(nodes: Hyperparameters, log_weights: Tensor) -> Hyperparameters:
    """Return `MEMBERS` nodes, repeated in proportion to exp(log_weights) (N,)."""
    quantiles = (torch.arange(MEMBERS, dtype=torch.float64) + 0.5) / MEMBERS
    ends = log_weights.softmax(dim=0).cumsum(dim=0)
    chosen = torch.searchsorted(ends, quantiles).clamp_max(len(ends) - 1)
    return Hyperparameters(*(values[chosen] for values in nodes))
