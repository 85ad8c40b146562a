"""Laplace's approximation of a utility's posterior given votes on pairs; see `preference`.

Newton's method runs on the whitened u, of which the prior is standard normal: then H = I + DᵀWD is
well conditioned, whatever the kernel's matrix is. All members of an ensemble are solved at once.

| symbol | code | meaning | shape |
|---|---|---|---|
| D | `design` | d = D u | (U, p, m) |
| ∂ℓ/∂d | `slope` | of the log likelihood | (U, p) |
| W | `curvature` | −∂²ℓ/∂d² ≥ 0 | (U, p) |
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.prior import Prior

_JITTER = 1e-6
"""Added to the diagonal of K, in units of σ_f²: keeps it invertible where λs are close together."""

_STEPS = 60
_CONVERGED = 1e-10
"""Of the Newton decrement: what the log posterior could still gain, twice."""


class Comparisons(NamedTuple):
    """Votes, counted by pair.

    Attributes:
        lams: (m,) compared λs, each once.
        first: (p,) which of them is the first one of each pair.
        second: (p,) which is the second one.
        counts: (p, 3) votes for the first, for the second, and for neither.
    """

    lams: Tensor
    first: Tensor
    second: Tensor
    counts: Tensor

    @property
    def total(self) -> int:
        """Number of votes."""
        return int(self.counts.sum())


class Mode(NamedTuple):
    """The mode of U posteriors and the curvature there.

    Attributes:
        root: R.
        white: u.
        precision_root: Cholesky root of H.
        log_evidence: (U,) approximate log marginal likelihood, up to a constant.
    """

    root: Tensor
    white: Tensor
    precision_root: Tensor
    log_evidence: Tensor


def outcome_log_probabilities(difference: Tensor, log_ties: Tensor) -> Tensor:
    """Return log P(first), log P(second) and log P(tie), (..., 3), of differences d (...)."""
    ties = log_ties.expand_as(difference)
    return torch.stack([difference / 2, -difference / 2, ties], dim=-1).log_softmax(dim=-1)


def find_mode(prior: Prior, comparisons: Comparisons, log_ties: Tensor) -> Mode:
    """Return the mode of each member's posterior.

    Args:
        prior: Of U members.
        comparisons: The votes.
        log_ties: log ν, (U, 1) or (1, 1).
    """
    covariance = prior.covariance(comparisons.lams, comparisons.lams)
    jitter = _JITTER * covariance.diagonal(dim1=-2, dim2=-1)
    root = torch.linalg.cholesky(covariance + jitter.diag_embed())
    design = root[:, comparisons.first] - root[:, comparisons.second]
    posterior = _Posterior(design, comparisons.counts, log_ties)
    white, value = _climb(posterior, root.new_zeros(root.shape[:-1]))
    precision_root = torch.linalg.cholesky(posterior.precision(white))
    log_determinant = 2 * precision_root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    return Mode(root, white, precision_root, value - log_determinant / 2)


class _Posterior(NamedTuple):
    """The log posterior of u, up to a constant, and its derivatives."""

    design: Tensor
    counts: Tensor
    log_ties: Tensor

    def value(self, white: Tensor) -> Tensor:
        likelihood = (self.counts * self._log_probabilities(white)).sum(dim=(-2, -1))
        return likelihood - white.square().sum(dim=-1) / 2

    def gradient(self, white: Tensor) -> Tensor:
        first, second, _ = self._log_probabilities(white).exp().unbind(dim=-1)
        wins = (self.counts[:, 0] - self.counts[:, 1]) / 2
        slope = wins - self.counts.sum(dim=-1) * (first - second) / 2
        return (self.design.mT @ slope[..., None]).squeeze(-1) - white

    def precision(self, white: Tensor) -> Tensor:
        first, second, _ = self._log_probabilities(white).exp().unbind(dim=-1)
        spread = (first + second) / 4 - ((first - second) / 2).square()
        curvature = self.counts.sum(dim=-1) * spread
        identity = torch.eye(white.shape[-1], dtype=white.dtype)
        return identity + self.design.mT @ (curvature[..., None] * self.design)

    def _log_probabilities(self, white: Tensor) -> Tensor:
        difference = (self.design @ white[..., None]).squeeze(-1)
        return outcome_log_probabilities(difference, self.log_ties)


def _climb(posterior: _Posterior, white: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mode and the value there; a step that overshoots is halved."""
    value, step = posterior.value(white), torch.ones_like(white[:, :1])
    for _ in range(_STEPS):
        gradient = posterior.gradient(white)
        root = torch.linalg.cholesky(posterior.precision(white))
        direction = torch.cholesky_solve(gradient[..., None], root).squeeze(-1)
        if (gradient * direction).sum(dim=-1).max() < _CONVERGED:
            break
        candidate = white + step * direction
        reached = posterior.value(candidate)
        better = (reached >= value)[:, None]
        white = torch.where(better, candidate, white)
        value = torch.where(better[:, 0], reached, value)
        step = torch.where(better, (2 * step).clamp_max(1), step / 2)
    return white, value
