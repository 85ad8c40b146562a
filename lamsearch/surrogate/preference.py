"""People's utility of λ: a Gaussian process behind votes on pairs of images.

| symbol | code | meaning | shape |
|---|---|---|---|
| f(λ) | | utility, in logits; only differences of it mean anything | |
| d | `difference` | f(first) − f(second) of a compared pair | (U, p) |
| ν | `ties` | how readily raters see no difference; 0 is never | number |
| P | `outcome_log_probabilities` | of first, second, tie: e^{d/2}, e^{−d/2}, ν over their sum | |
| K = R Rᵀ | `root` | prior covariance of f at the m compared λs | (U, m, m) |
| u | `white` | f = R u at the mode of the posterior | (U, m) |
| H | `precision` | of u about the mode, Laplace's approximation | (U, m, m) |

The likelihood is that of Bradley & Terry (1952) with ties as in Davidson (1970): log-concave in f,
so there is one mode. Kernel, hyperparameters and their weighing by evidence are those of the
reward's surrogate (`hyperparameters`, `prior`); Laplace's approximation is that of Rasmussen &
Williams (2006), section 3.4. Votes count as independent: what single images or raters have of their
own is not modelled, so the answer is one for the images and the raters that there were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lamsearch.surrogate.hyperparameters import (
    Ensemble,
    Hyperparameters,
    equal_weight_members,
    grid,
    log_prior,
)
from lamsearch.surrogate.laplace import Comparisons, Mode, find_mode
from lamsearch.surrogate.model import square_root
from lamsearch.surrogate.prior import DEFAULT_KERNEL, Prior

_TIES = torch.logspace(math.log10(0.02), math.log10(8.0), 11, dtype=torch.float64)
_TIES_PRIOR = (0.5, 1.0)
"""Log-normal prior of ν: median and standard deviation of the logarithm."""

_TYPICAL = Hyperparameters(*torch.tensor([[0.4], [1.5], [0.0]], dtype=torch.float64))
"""ν is nearly independent of the curve's shape: it is found at the medians of the priors."""


@dataclass(frozen=True, eq=False)
class PreferenceSurrogate:
    """The posterior of the utility f, hyperparameters integrated out.

    Attributes:
        comparisons: The votes.
        bounds: λ's range (low, high).
        prior: Of the U distinct members.
        members: (S,) which of these each of the equally weighted members has.
        mixture_weights: (U,) of the distinct members.
        ties: ν.
        mode: Laplace's approximation at the compared λs.
    """

    comparisons: Comparisons
    bounds: tuple[float, float]
    prior: Prior
    members: Tensor
    mixture_weights: Tensor
    ties: float
    mode: Mode

    def joint(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Return each distinct member's means (U, g) and covariances (U, g, g) at `lams` (g,)."""
        covariance = self.prior.covariance(self.comparisons.lams, lams)
        white = torch.linalg.solve_triangular(self.mode.root, covariance, upper=False)
        mean = (white.mT @ self.mode.white[..., None]).squeeze(-1)
        open_ = torch.linalg.solve_triangular(self.mode.precision_root, white, upper=False)
        known = white.mT @ white
        return mean, self.prior.covariance(lams, lams) - known + open_.mT @ open_

    def mean(self, lams: Tensor) -> Tensor:
        """Return the posterior mean (g,) of f at `lams` (g,)."""
        covariance = self.prior.covariance(self.comparisons.lams, lams)
        white = torch.linalg.solve_triangular(self.mode.root, covariance, upper=False)
        mean: Tensor = self.mixture_weights @ (white.mT @ self.mode.white[..., None]).squeeze(-1)
        return mean

    def gain(self, lams: Tensor, origin: float) -> tuple[Tensor, Tensor]:
        """Return the posterior mean and variance (g,) of f(λ) − f(origin), in logits."""
        means, covariances = self.joint(torch.cat([lams, torch.tensor([origin]).to(lams)]))
        change = means[:, :-1] - means[:, -1:]
        own = covariances.diagonal(dim1=-2, dim2=-1)
        variance = own[:, :-1] + own[:, -1:] - 2 * covariances[:, :-1, -1]
        mean = self.mixture_weights @ change
        spread = self.mixture_weights @ (variance + change.square()) - mean.square()
        return mean, spread.clamp_min(0)

    def draws(self, lams: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
        """Return joint posterior draws (count, g) of f; the S members take turns."""
        means, covariances = self.joint(lams)
        rounds = math.ceil(count / len(self.members))
        shape = (len(self.members), len(lams), rounds)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator)
        curves = means[self.members, :, None] + square_root(covariances)[self.members] @ normal
        return curves.permute(2, 0, 1).reshape(-1, len(lams))[:count]


def fit_preferences(
    comparisons: Comparisons,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    kernel: str = DEFAULT_KERNEL,
) -> PreferenceSurrogate:
    """Return the surrogate of the utility behind votes, hyperparameters by quadrature.

    Args:
        comparisons: The votes; there may be none, which gives the prior.
        bounds: λ's range (low, high), whose width is the unit of the lengthscale.
        kernel: One of `prior.KERNELS`.
    """
    width = bounds[1] - bounds[0]
    ties = _likeliest_ties(comparisons, kernel, width)
    nodes = grid(inferred_noise=False)
    evidence = find_mode(Prior(nodes, kernel, width), comparisons, _logarithm(ties)).log_evidence
    ensemble = Ensemble.from_members(equal_weight_members(nodes, evidence + log_prior(nodes)))
    prior = Prior(ensemble.nodes, kernel, width)
    return PreferenceSurrogate(
        comparisons=comparisons,
        bounds=bounds,
        prior=prior,
        members=ensemble.members,
        mixture_weights=ensemble.mixture_weights,
        ties=ties,
        mode=find_mode(prior, comparisons, _logarithm(ties)),
    )


def _likeliest_ties(comparisons: Comparisons, kernel: str, width: float) -> float:
    """Return ν of the largest posterior probability, at typical hyperparameters."""
    which = torch.zeros(len(_TIES), dtype=torch.long)
    prior = Prior(_TYPICAL.take(which), kernel, width)
    evidence = find_mode(prior, comparisons, _TIES.log()[:, None]).log_evidence
    median, spread = _TIES_PRIOR
    posterior = evidence - ((_TIES / median).log() / spread).square() / 2
    return _TIES[posterior.argmax()].item()


def _logarithm(ties: float) -> Tensor:
    return torch.tensor([[math.log(ties)]], dtype=torch.float64)
