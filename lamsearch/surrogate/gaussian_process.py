"""The posterior of J: Gaussian processes in one dimension, one per set of hyperparameters.

| symbol | code | meaning | shape |
|---|---|---|---|
| λ | `lams` | training λs | (..., n) |
| y | `targets` | their values, standardised | (..., U, n) |
| D | `noise` | diagonal: working variances of their errors; the paper's is σ_n² | (..., U, n) |
| E | `excess` | covariance of their errors, less D | (..., n, n) |
| k(λ,λ') | `Prior.covariance` | prior covariance (arXiv 2601.20198, Eq. 40) | (..., U, g, h) |
| R | `root` | K + D = R Rᵀ | (..., U, n, n) |
| R⁻¹k, R⁻¹1 | `Cross.white`, `ones` | whitened | (..., U, n, g), (..., U, n) |
| τ | `Cross.trend` | 1 − 1ᵀ(K+D)⁻¹k: how much of the constant mean stays open | (..., U, g) |
| W | `Cross.weights` | the posterior mean is Wᵀy | (..., U, n, g) |

The unknown constant mean adds the terms of the trend to the paper's Eq. 41–42: the best linear
unbiased predictor, or ordinary kriging (eq-weights).

Errors of evaluations on the same images are similar, and as smooth in λ as the curve itself. Taken
at face value, K + D + E lets the finest features of the data, where errors are small, overrule the
coarse ones; if the curve is not exactly what the kernel says, that goes wrong. The mean therefore
works as if errors were independent, and Eq. 42 gets the term WᵀEW, with which it is the mean
square error of Wᵀy under the full model: the sandwich covariance of generalised estimating
equations (Liang & Zeger 1986; eq-sandwich). With independent errors E = 0, and both agree.

The leading dimensions "..." are those of BoTorch's fantasies. Labels like eq-sandwich are those of
the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.prior import Prior


class Data(NamedTuple):
    """What a process is conditioned on; shapes as in the module's table.

    Attributes:
        lams: Training λs.
        targets: y.
        noise: D.
        excess: E.
    """

    lams: Tensor
    targets: Tensor
    noise: Tensor
    excess: Tensor

    def take(self, index: Tensor) -> Data:
        """Return the data of the processes at `index` (S,), which may repeat."""
        targets, noise = (t[..., index, :] for t in (self.targets, self.noise))
        return self._replace(targets=targets, noise=noise)

    def extended(
        self, lams: Tensor, targets: Tensor, noise: Tensor, shared: Tensor | None = None
    ) -> Data:
        """Return the data with p more values.

        Args:
            lams: (..., p) their λs.
            targets: (..., U, p) values.
            noise: (..., U, p) working variances of their errors.
            shared: (n + p, p) what the errors' covariance has beyond that; by default nothing.
        """
        n, p = self.lams.shape[-1], lams.shape[-1]
        batch, processes = targets.shape[:-2], targets.shape[-2]
        side = self.excess.new_zeros(n + p, p) if shared is None else shared
        upper = torch.cat([self.excess, side[:n].expand(*self.excess.shape[:-2], n, p)], dim=-1)
        excess = torch.cat([upper, side.mT.expand(*self.excess.shape[:-2], p, n + p)], dim=-2)
        return Data(
            torch.cat([self.lams.expand(*batch, n), lams.expand(*batch, p)], dim=-1),
            torch.cat([self.targets.expand(*batch, processes, n), targets], dim=-1),
            torch.cat([self.noise.expand(*batch, processes, n), noise.expand_as(targets)], dim=-1),
            excess,
        )


class Cross(NamedTuple):
    """How J at g λs depends on the targets, as in the module's table."""

    white: Tensor
    trend: Tensor
    weights: Tensor


@dataclass(frozen=True)
class GaussianProcess:
    """The posteriors of J; `root` and `ones` are in the module's table.

    Attributes:
        prior: Before the data.
        data: What the prior is conditioned on.
        information: (..., U, 1) 1ᵀ(K+D)⁻¹1, the constant mean's precision; infinite if known.
        constant: (..., U, 1) estimate of the constant mean.
        white: (..., U, n) R⁻¹(y − constant).
    """

    prior: Prior
    data: Data
    root: Tensor
    ones: Tensor
    information: Tensor
    constant: Tensor
    white: Tensor

    def log_evidence(self) -> Tensor:
        """Return the log marginal likelihood (..., U), up to a constant (eq-evidence)."""
        log_root = self.root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
        evidence = -self.white.square().sum(dim=-1) / 2 - log_root
        if not self.prior.constant_mean:
            return evidence
        return evidence - self.information.squeeze(-1).log() / 2

    def cross(self, lams: Tensor) -> Cross:
        """Return the `Cross` of J at `lams` (..., g)."""
        covariance = self.prior.covariance(self.data.lams, lams)
        white = torch.linalg.solve_triangular(self.root, covariance, upper=False)
        trend = 1 - (white.mT @ self.ones[..., None]).squeeze(-1)
        sides = white + self.ones[..., None] * (trend / self.information)[..., None, :]
        weights = torch.linalg.solve_triangular(self.root.mT, sides, upper=True)
        return Cross(white, trend, weights)

    def mean(self, cross: Cross) -> Tensor:
        """Return Eq. 41, (..., U, g)."""
        return self.constant + (cross.white.mT @ self.white[..., None]).squeeze(-1)

    def working_covariance(self, prior: Tensor, left: Cross, right: Cross) -> Tensor:
        """Return Eq. 42, (..., U, g, h), as if E were zero, for the prior covariance."""
        trend = left.trend[..., None] * right.trend[..., None, :] / self.information[..., None]
        return prior - left.white.mT @ right.white + trend

    def covariance(self, prior: Tensor, left: Cross, right: Cross) -> Tensor:
        """Return the posterior covariance (..., U, g, h) for the prior one (eq-sandwich)."""
        sandwich = left.weights.mT @ self.data.excess[..., None, :, :] @ right.weights
        return self.working_covariance(prior, left, right) + sandwich

    def variance(self, cross: Cross, *, working: bool = False) -> Tensor:
        """Return the posterior variance (..., U, g) of J, or Eq. 42 as if E were zero."""
        trend = cross.trend.square() / self.information
        plain = self.prior.nodes.outputscale[:, None] - cross.white.square().sum(dim=-2) + trend
        if not working:
            through = self.data.excess[..., None, :, :] @ cross.weights
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


def condition(prior: Prior, data: Data) -> GaussianProcess:
    """Return the posterior given the data."""
    root = torch.linalg.cholesky(prior.covariance(data.lams, data.lams) + data.noise.diag_embed())
    sides = torch.stack([data.targets.expand(root.shape[:-1]), torch.ones_like(root[..., 0])], -1)
    white, ones = torch.linalg.solve_triangular(root, sides, upper=False).unbind(dim=-1)
    information = ones.square().sum(dim=-1, keepdim=True)
    if not prior.constant_mean:
        information = torch.full_like(information, torch.inf)
    constant = (ones * white).sum(dim=-1, keepdim=True) / information
    return GaussianProcess(
        prior, data, root, ones, information, constant, white=white - constant * ones
    )
