"""The surrogate of J(λ): a Gaussian process over λ (arXiv 2601.20198, Eq. 40–42).

Outcomes are standardised, so priors are relative to the data and J → a·J + b scales the answer.
The hyperparameters are integrated out by S equally weighted members (`hyperparameters`); U of them
are distinct, and only these are computed (`gaussian_process`).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from botorch.models.model import Model
from botorch.posteriors.fully_bayesian import GaussianMixturePosterior
from botorch.sampling.base import MCSampler
from gpytorch.distributions import MultivariateNormal
from linear_operator import to_linear_operator
from torch import Tensor

from lamsearch.surrogate.gaussian_process import CORRELATIONS, Prior
from lamsearch.surrogate.hyperparameters import (
    Hyperparameters,
    equal_weight_members,
    grid,
    log_prior,
)
from lamsearch.surrogate.observations import Observations

NOISE_FLOOR = 1e-6
"""Least noise variance, standardised: a thousandth of the values' spread; keeps K invertible."""

KERNELS = tuple(CORRELATIONS)
DEFAULT_KERNEL = "matern"


class Surrogate(Model):
    """A BoTorch model of J(λ): BoTorch's acquisitions take it, at X of shape (b, q, 1).

    `posterior` is a Gaussian mixture over the members; `mean`, `covariance` and so on are its
    exact moments and draws, in the units of the scores.

    Args:
        observations: n ≥ 1 evaluated λs.
        hyperparameters: S members, equally weighted.
        bounds: λ's range (low, high). Observations may lie outside.
        kernel: "rbf" or "matern".
        constant_mean: Whether the mean is an unknown constant; else it is that of the values.

    Attributes:
        weights: (U,) of the distinct members.
    """

    _is_ensemble = True
    num_outputs = 1

    def __init__(
        self,
        observations: Observations,
        hyperparameters: Hyperparameters,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        kernel: str = DEFAULT_KERNEL,
        constant_mean: bool = True,
    ) -> None:
        super().__init__()
        self.observations, self.hyperparameters = observations, hyperparameters
        self.bounds, self.kernel = bounds, kernel
        nodes, self._which, counts = _distinct(hyperparameters)
        self.weights = counts / counts.sum()
        self._center, self._scale = _standardization(observations)
        self._process = Prior(nodes, kernel, bounds[1] - bounds[0], constant_mean).condition(
            observations.lams, *_standardized(observations, nodes, self._center, self._scale)
        )
        self._usual_noise = self._process.noise.mean(dim=-1)  # of one more evaluation

    @property
    def batch_shape(self) -> torch.Size:
        """BoTorch's: the batch dimensions of fantasies, and S."""
        return torch.Size([*self._process.lams.shape[:-1], len(self._which)])

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Any:
        """BoTorch's entry: the joint posterior at X (b, q, 1), members in dimension `MCMC_DIM`."""
        means, covariances = self._process.joint(X.squeeze(-1))
        if observation_noise is not False:
            own = self._usual_noise[:, None, None] * torch.eye(X.shape[-2], dtype=X.dtype)
            covariances = covariances + own
        distribution = MultivariateNormal(
            self._center + self._scale * means.index_select(-2, self._which),
            to_linear_operator(self._scale**2 * covariances.index_select(-3, self._which)),
        )
        posterior = GaussianMixturePosterior(distribution)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def fantasize(self, X: Tensor, sampler: MCSampler, **_: Any) -> Surrogate:
        """BoTorch's: the model after outcomes drawn at X (b, q, 1), one for each fantasy f."""
        return self.condition_on_observations(X, sampler(self.posterior(X, observation_noise=True)))

    def condition_on_observations(self, X: Tensor, Y: Tensor, **_: Any) -> Surrogate:
        """BoTorch's: the model with more observations, X (b, q, 1) and Y (f, b, S, q, 1)."""
        model = copy.copy(self)
        # Each of the S members has outcomes of its own: all of them are distinct now.
        members = len(self._which)
        model._which = torch.arange(members)
        model.weights = torch.full((members,), 1 / members, dtype=torch.float64)
        model._usual_noise = self._usual_noise[self._which]
        noise = model._usual_noise[:, None]
        targets = (Y.squeeze(-1) - self._center) / self._scale
        model._process = self._process.take(self._which).extended(X.squeeze(-1), targets, noise)
        return model

    @property
    def noise_variance(self) -> float:
        """Noise variance of an evaluation, on average, in the units of the scores squared."""
        return float(self.weights @ self._usual_noise) * self._scale**2

    @property
    def lams(self) -> Tensor:
        """λs (n,) that it is conditioned on, those believed included."""
        return self._process.lams

    @torch.no_grad()
    def members(self, lams: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each distinct member's posterior of J.

        Args:
            lams: (g,) λs.
            others: (h,) λs, by default the same.

        Returns:
            Means (U, g) at `lams`, and covariances (U, g, h) of `lams` with `others`.
        """
        means, covariances = self._process.joint(lams, others)
        return self._center + self._scale * means, self._scale**2 * covariances

    @torch.no_grad()
    def marginals(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Each distinct member's means (U, g) and variances (U, g) at `lams` (g,)."""
        means, variances = self._process.marginals(lams)
        return self._center + self._scale * means, self._scale**2 * variances

    def mean(self, lams: Tensor) -> Tensor:
        """Posterior mean (g,) of J at `lams` (g,), hyperparameters integrated out."""
        return self.weights @ self.marginals(lams)[0]

    def variance(self, lams: Tensor) -> Tensor:
        """Posterior variance (g,) of J at `lams` (g,), hyperparameters integrated out."""
        means, variances = self.marginals(lams)
        return self.weights @ (variances + (means - self.weights @ means).square())

    def level_variance(self, lams: Tensor) -> Tensor:
        """Variance (g,) of J's own level at `lams` (g,): with the offset common to all values."""
        shared = 2 * self.weights @ self.offset_covariance(lams)
        return (self.variance(lams) + self.observations.offset_variance + shared).clamp_min(0)

    @torch.no_grad()
    def offset_covariance(self, lams: Tensor) -> Tensor:
        """Each distinct member's covariance (U, g) of its mean's error with the common offset."""
        known = self.observations.offset_covariance
        return known @ self._process.cross(lams).weights[..., : len(known), :]

    def covariance(self, lams: Tensor, others: Tensor | None = None) -> Tensor:
        """Posterior covariance (g, h) of J at `lams` (g,) and `others`, by default the same."""
        others = lams if others is None else others
        means, covariances = self.members(lams, others)
        return self._mixed(means, self.marginals(others)[0], covariances)

    @torch.no_grad()
    def mean_weights(self, lams: Tensor) -> Tensor:
        """Weights (n, g) of the values in the mean at `lams` (g,), hyperparameters as they are.

        Values that move by δ move the mean by δᵀ times these, in the units of the scores.
        """
        return torch.einsum("u,ung->ng", self.weights, self._process.cross(lams).weights)

    @torch.no_grad()
    def draws(
        self, lams: Tensor, count: int, *, generator: torch.Generator, less: float = 0.0
    ) -> Tensor:
        """Joint posterior draws (count, g) of J − `less` at `lams` (g,); the S members take turns.

        Without its level a curve that is known to the last digit still has draws that differ.
        """
        means, covariances = self._process.joint(lams)
        means = self._center - less + self._scale * means
        rounds = math.ceil(count / len(self._which))
        roots = square_root(self._scale**2 * covariances)
        shape = (len(self._which), len(lams), rounds)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator)
        curves: Tensor = means[self._which, :, None] + roots[self._which] @ normal
        return curves.permute(2, 0, 1).reshape(-1, len(lams))[:count]

    @torch.no_grad()
    def predictive(self, lams: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """What one more evaluation would tell: it shares errors with those that are there.

        Args:
            lams: (c,) candidates.
            points: (g,) λs that one wants to know of.

        Returns:
            Covariances (c, g) of the value at each candidate with the posterior mean at the points
            after it, and the values' variances (c,); moments of the mixture.
        """
        process, scale = self._process, self._scale
        value, curve = process.cross(lams), process.cross(points)
        together = process.working_covariance(process.prior.covariance(lams, points), value, curve)
        means = process.mean(value)
        between = (means - self.weights @ means).square()
        working = process.variance(value, working=True) + self._usual_noise[:, None]
        moves = self._mixed(means, process.mean(curve), together) / (
            self.weights @ (working + between)
        ).unsqueeze(-1)
        shared, own = self._next_error(lams)
        variance = process.variance(value) + own - 2 * (value.weights * shared).sum(dim=-2)
        surprise = scale**2 * (self.weights @ (variance + between)).clamp_min(NOISE_FLOOR)
        return moves * surprise[:, None], surprise

    @torch.no_grad()
    def believe(self, lams: Tensor) -> Surrogate:
        """The model as if λs (p,) under evaluation had come out at each member's expectation.

        The mean stays and the uncertainty shrinks by what these evaluations will tell.
        """
        model = copy.copy(self)
        for lam in lams[:, None]:
            process = model._process
            shared, own = model._next_error(lam)
            # All members agree on what is beyond the usual noise: known errors, or nothing.
            beyond = torch.cat([shared[0], own[:1] - self._usual_noise[0]])
            expected = process.mean(process.cross(lam))
            noise = self._usual_noise[:, None]
            model._process = process.extended(lam, expected, noise, beyond)
        return model

    def _next_error(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Covariances (U, n, c) of one more value's error with the others', variances (U, c)."""
        coefficients, variance = self.observations.next_error(lams)
        known = len(coefficients)
        errors = self._process.excess + self._process.noise.diag_embed()
        shared = errors[..., :known] @ coefficients
        least = (shared[..., :known, :] * coefficients).sum(dim=-2)
        own = (variance / self._scale**2).where(~variance.isnan(), self._usual_noise[:, None])
        return shared, torch.maximum(own, least)

    def _mixed(self, means: Tensor, others: Tensor, covariances: Tensor) -> Tensor:
        """Covariance (g, h) of the mixture, from means (U, g), (U, h) and covariances (U, g, h)."""
        between = (means - self.weights @ means) * self.weights[:, None]
        others = others - self.weights @ others  # a large level would leave its rounding
        mixed: Tensor = torch.einsum("u,ugh->gh", self.weights, covariances) + between.T @ others
        return mixed


def fit_surrogate(
    observations: Observations,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    kernel: str = DEFAULT_KERNEL,
    constant_mean: bool = True,
) -> Surrogate:
    """The surrogate of the observations, hyperparameters by quadrature (Eq. 40–42).

    Args:
        observations: n ≥ 1 evaluated λs; a NaN variance is inferred, one σ_n² for all of them.
        bounds: λ's range (low, high); the lengthscale's prior is relative to its width.
        kernel: "rbf", the paper's, or "matern" (Matérn-5/2).
        constant_mean: Whether the mean is an unknown constant; else it is that of the values.

    Raises:
        ValueError: If the bounds are not finite and increasing, or the kernel is unknown.
    """
    if not (math.isfinite(bounds[0]) and math.isfinite(bounds[1]) and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be finite with low < high, got {bounds}")
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; choose from {list(KERNELS)}")
    nodes = grid(inferred_noise=bool(observations.working.isnan().any()))
    data = _standardized(observations, nodes, *_standardization(observations))
    with torch.no_grad():
        prior = Prior(nodes, kernel, bounds[1] - bounds[0], constant_mean)
        if observations.working.isnan().all():
            values, noise, _ = data
            evidence = prior.homoscedastic_evidence(observations.lams, values[0], noise[:, 0])
        else:
            evidence = prior.condition(observations.lams, *data).log_evidence()
    members = equal_weight_members(nodes, evidence + log_prior(nodes))
    return Surrogate(
        observations, members, bounds=bounds, kernel=kernel, constant_mean=constant_mean
    )


def square_root(covariance: Tensor) -> Tensor:
    """Return the symmetric square root of covariances (..., g, g).

    Smooth curves on a fine grid are singular to working precision, where Cholesky would fail; and
    unlike the eigenvectors this root does not jump when the data change by a rounding error.
    """
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * eigenvalues.clamp_min(0).sqrt().unsqueeze(-2) @ vectors.mT
    return root


def _distinct(hyperparameters: Hyperparameters) -> tuple[Hyperparameters, Tensor, Tensor]:
    """The U distinct members, which of them each of the S is (S,), and how often each is (U,)."""
    columns, which, counts = torch.unique(
        torch.stack(hyperparameters), dim=1, return_inverse=True, return_counts=True
    )
    return Hyperparameters(*columns), which, counts.double()


def _standardized(
    observations: Observations, nodes: Hyperparameters, center: float, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Standardised values (U, n), noise (U, n) with the unknown filled in, and excess (n, n)."""
    values = ((observations.values - center) / scale).expand(len(nodes.noise), -1)
    working = observations.working / scale**2
    noise = torch.where(working.isnan(), nodes.noise[:, None], working) + NOISE_FLOOR
    excess = observations.covariance - observations.working.diag()
    return values, noise, excess.nan_to_num(0.0) / scale**2


def _standardization(observations: Observations) -> tuple[float, float]:
    """The values' mean and spread; where they have no spread, that of the noise."""
    values, known = observations.values, observations.working.nan_to_num(0.0)
    scale = values.std().item() if len(values) > 1 else 0.0
    if scale <= 1e-9 * values.abs().max().item():
        scale = math.sqrt(known.mean().item() + observations.offset_variance) or 1.0
    return values.mean().item(), scale
