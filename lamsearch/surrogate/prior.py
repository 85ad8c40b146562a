"""The prior of J: Gaussian processes in one dimension, one per set of hyperparameters.

| symbol | code | meaning | shape |
|---|---|---|---|
| ρ | `CORRELATIONS` | correlation at a distance in units of the lengthscale | |
| ℓ, σ_f² | `nodes` | hyperparameters | (U,) |
| k(λ,λ') | `covariance` | σ_f² ρ(|λ−λ'|/ℓ) (arXiv 2601.20198, Eq. 40) | (..., U, g, h) |

The paper's mean is zero. Here it is by default an unknown constant with a flat prior, integrated
out ("ordinary kriging").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from lamsearch.surrogate.hyperparameters import Hyperparameters

CORRELATIONS: MappingProxyType[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "rbf": lambda r: torch.exp(-r.square() / 2),
        "matern": lambda r: (1 + 5**0.5 * r + 5 * r.square() / 3) * torch.exp(-(5**0.5) * r),
    }
)
"""ρ(r): the paper's RBF, and Matérn-5/2."""

KERNELS = tuple(CORRELATIONS)
DEFAULT_KERNEL = "matern"


@dataclass(frozen=True)
class Prior:
    """The kernel with U sets of hyperparameters.

    Attributes:
        nodes: The hyperparameters.
        kernel: One of `KERNELS`.
        width: Of the bounds, the unit of the lengthscale.
        constant_mean: Whether the mean is an unknown constant; otherwise it is zero.
    """

    nodes: Hyperparameters
    kernel: str = "rbf"
    width: float = 1.0
    constant_mean: bool = True

    def covariance(self, lams: Tensor, others: Tensor) -> Tensor:
        """Return k (..., U, g, h) between `lams` (..., g) and `others` (..., h)."""
        distance = (lams[..., None, :, None] - others[..., None, None, :]).abs() / self.width
        rho = CORRELATIONS[self.kernel](distance / self.nodes.lengthscale[:, None, None])
        return self.nodes.outputscale[:, None, None] * rho

    def take(self, index: Tensor) -> Prior:
        """Return the prior with the hyperparameters at `index` (S,), which may repeat."""
        return dataclasses.replace(self, nodes=self.nodes.take(index))

    def homoscedastic_evidence(self, lams: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
        """Return `GaussianProcess.log_evidence` (U,), faster, where all errors are equally large.

        K + D = σ_f² ρ + σ_n² I has the eigenvectors of ρ: one decomposition per ℓ.

        Args:
            lams: (n,) training λs.
            targets: (n,) their values.
            noise: (U,) σ_n², positive: rounding may leave ρ with eigenvalues a little below 0.
        """
        lengthscales, which = torch.unique(self.nodes.lengthscale, return_inverse=True)
        unit = Hyperparameters(lengthscales, *torch.ones(2, len(lengthscales), dtype=lams.dtype))
        correlation = dataclasses.replace(self, nodes=unit).covariance(lams, lams)
        values, vectors = torch.linalg.eigh(correlation)
        spectrum = self.nodes.outputscale[:, None] * values[which] + noise[:, None]
        ones, rotated = vectors.sum(dim=-2)[which], (targets @ vectors)[which]
        evidence: Tensor = -spectrum.log().sum(dim=-1) / 2
        if self.constant_mean:
            information = (ones.square() / spectrum).sum(dim=-1)
            constant = (ones * rotated / spectrum).sum(dim=-1) / information
            rotated = rotated - constant[:, None] * ones
            evidence = evidence - information.log() / 2
        evidence -= (rotated.square() / spectrum).sum(dim=-1) / 2
        return evidence
