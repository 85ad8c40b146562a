"""Gaussian processes in one dimension, one for each set of hyperparameters, in step.

| symbol | code | meaning | shape |
|---|---|---|---|
| λ | `lams` | training λs | (..., n) |
| y | `targets` | their values, standardised | (..., U, n) |
| D | `noise` | diagonal: variances of their errors; the paper's is σ_n² | (..., U, n) |
| E | `excess` | their errors' true covariance, less D | (..., n, n) |
| ℓ | `lengthscale` | of the kernel, in units of the bounds' width | (U,) |
| σ_f² | `outputscale` | variance of the curve about its mean | (U,) |
| k(λ,λ') | `covariance` | σ_f² ρ(|λ−λ'|/ℓ) (arXiv 2601.20198, Eq. 40) | (..., U, g, h) |
| R | `root` | K + D = R Rᵀ | (..., U, n, n) |
| R⁻¹k, R⁻¹1 | `Cross.white`, `ones` | whitened | (..., U, n, g), (..., U, n) |
| 1 − 1ᵀ(K+D)⁻¹k | `Cross.trend` | what the data do not say of the mean | (..., U, g) |
| W | `Cross.weights` | the posterior mean is Wᵀy | (..., U, n, g) |

The paper's mean is zero; here it is an unknown constant with a flat prior, integrated out, which
adds the terms of the trend to Eq. 41–42 ("ordinary kriging").

Errors of evaluations on the same images are alike, and as smooth in λ as the curve itself. Taken at
its word, K + D + E lets the finest features of the data, where errors are small, overrule the
coarse ones; if the curve is not exactly what the kernel says, that goes wrong. The mean therefore
works as if errors were independent, and Eq. 42 gets the term WᵀEW, with which it is the mean
square error of Wᵀy under the full model: the "sandwich" of generalised estimating equations. With
independent errors E = 0, and all is as usual.

Leading dimensions "..." are those of BoTorch's fantasies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

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


@dataclass(frozen=True)
class Prior:
    """The kernel with U sets of hyperparameters.

    Attributes:
        nodes: The hyperparameters.
        kernel: One of `CORRELATIONS`.
        width: Of the bounds, the unit of the lengthscale.
        constant_mean: Whether the mean is an unknown constant; else it is zero, as in the paper.
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

    def homoscedastic_evidence(self, lams: Tensor, targets: Tensor, noise: Tensor) -> Tensor:
        """Return `GaussianProcess.log_evidence` (U,), faster, where all errors are equally large.

        K + D = σ_f² ρ + σ_n² I has the eigenvectors of ρ: one decomposition for each ℓ.

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
            level = (ones * rotated / spectrum).sum(dim=-1) / information
            rotated = rotated - level[:, None] * ones
            evidence = evidence - information.log() / 2
        evidence -= (rotated.square() / spectrum).sum(dim=-1) / 2
        return evidence

    def take(self, index: Tensor) -> Prior:
        """Return the prior with the hyperparameters at `index` (S,), which may repeat."""
        nodes = Hyperparameters(*(values[index] for values in self.nodes))
        return dataclasses.replace(self, nodes=nodes)

    def condition(
        self, lams: Tensor, targets: Tensor, noise: Tensor, excess: Tensor
    ) -> GaussianProcess:
        """Return the posterior given values `targets` at `lams`; arguments as in the table."""
        root = torch.linalg.cholesky(self.covariance(lams, lams) + noise.diag_embed())
        sides = torch.stack([targets.expand(root.shape[:-1]), torch.ones_like(root[..., 0])], -1)
        white, ones = torch.linalg.solve_triangular(root, sides, upper=False).unbind(dim=-1)
        information = ones.square().sum(dim=-1, keepdim=True)
        if not self.constant_mean:
            information = torch.full_like(information, torch.inf)
        level = (ones * white).sum(dim=-1, keepdim=True) / information
        return GaussianProcess(
            self,
            lams,
            targets,
            noise,
            excess,
            root,
            ones,
            information,
            level,
            white - level * ones,
        )


class Cross(NamedTuple):
    """How some unknowns hang together with the targets, as in the module's table."""

    white: Tensor
    trend: Tensor
    weights: Tensor


@dataclass(frozen=True)
class GaussianProcess:
    """The posterior. Fields are those of the module's table and some more.

    Attributes:
        prior: Before the data.
        information: (..., U, 1) 1ᵀ(K+D)⁻¹1, the precision of the level; infinite if it is known.
        level: (..., U, 1) estimate of the constant mean.
        white: (..., U, n) R⁻¹(y − level).
    """

    prior: Prior
    lams: Tensor
    targets: Tensor
    noise: Tensor
    excess: Tensor
    root: Tensor
    ones: Tensor
    information: Tensor
    level: Tensor
    white: Tensor

    def log_evidence(self) -> Tensor:
        """Return the log marginal likelihood (..., U) of the targets, up to a constant."""
        log_root = self.root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        evidence = -self.white.square().sum(dim=-1) / 2 - log_root
        if not self.prior.constant_mean:
            return evidence
        return evidence - self.information.squeeze(-1).log() / 2

    def cross(self, lams: Tensor) -> Cross:
        """Return the `Cross` of J at `lams` (..., g)."""
        covariance = self.prior.covariance(self.lams, lams)
        white = torch.linalg.solve_triangular(self.root, covariance, upper=False)
        trend = 1 - (white.mT @ self.ones[..., None]).squeeze(-1)
        sides = white + self.ones[..., None] * (trend / self.information)[..., None, :]
        weights = torch.linalg.solve_triangular(self.root.mT, sides, upper=True)
        return Cross(white, trend, weights)

    def mean(self, cross: Cross) -> Tensor:
        """Return Eq. 41, (..., U, g)."""
        return self.level + (cross.white.mT @ self.white[..., None]).squeeze(-1)

    def working_covariance(self, prior: Tensor, left: Cross, right: Cross) -> Tensor:
        """Return Eq. 42, (..., U, g, h), as if E were zero, for the prior covariance."""
        trend = left.trend[..., None] * right.trend[..., None, :] / self.information[..., None]
        return prior - left.white.mT @ right.white + trend

    def covariance(self, prior: Tensor, left: Cross, right: Cross) -> Tensor:
        """Return the posterior covariance (..., U, g, h) for the prior one."""
        sandwich = left.weights.mT @ self.excess[..., None, :, :] @ right.weights
        return self.working_covariance(prior, left, right) + sandwich

    def variance(self, cross: Cross, *, working: bool = False) -> Tensor:
        """Return the posterior variance (..., U, g) of J, or Eq. 42 as if E were zero."""
        trend = cross.trend.square() / self.information
        plain = self.prior.nodes.outputscale[:, None] - cross.white.square().sum(dim=-2) + trend
        if not working:
            through = self.excess[..., None, :, :] @ cross.weights
            plain = plain + (cross.weights * through).sum(dim=-2)
        return plain.clamp_min(0)

    def joint(self, lams: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return means (..., U, g) and covariances (..., U, g, h) of J."""
        left = self.cross(lams)
        right = left if others is None else self.cross(others)
        prior = self.prior.covariance(lams, lams if others is None else others)
        return self.mean(left), self.covariance(prior, left, right)

    def marginals(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and variances (..., U, g) of J."""
        cross = self.cross(lams)
        return self.mean(cross), self.variance(cross)

    def take(self, index: Tensor) -> GaussianProcess:
        """Return the processes at `index` (S,), which may repeat."""
        prior = self.prior.take(index)
        targets, noise = (t[..., index, :] for t in (self.targets, self.noise))
        return prior.condition(self.lams, targets, noise, self.excess)

    def extended(
        self, lams: Tensor, targets: Tensor, noise: Tensor, shared: Tensor | None = None
    ) -> GaussianProcess:
        """Return the posterior given p more values.

        Args:
            lams: (..., p) their λs.
            targets: (..., U, p) values.
            noise: (..., U, p) variances of their errors.
            shared: (n + p, p) what the errors' covariance has beyond that; by default nothing.
        """
        n, p = self.lams.shape[-1], lams.shape[-1]
        batch = targets.shape[:-2]
        side = self.excess.new_zeros(n + p, p) if shared is None else shared
        upper = torch.cat([self.excess, side[:n].expand(*self.excess.shape[:-2], n, p)], dim=-1)
        excess = torch.cat([upper, side.mT.expand(*self.excess.shape[:-2], p, n + p)], dim=-2)
        members = targets.shape[-2]
        return self.prior.condition(
            torch.cat([self.lams.expand(*batch, n), lams.expand(*batch, p)], dim=-1),
            torch.cat([self.targets.expand(*batch, members, n), targets], dim=-1),
            torch.cat([self.noise.expand(*batch, members, n), noise.expand_as(targets)], dim=-1),
            excess,
        )
