"""The Gaussian process over λ (arXiv 2601.20198, Eq. 40–42), with its hyperparameters integrated.

| symbol | code | meaning | shape or range |
|---|---|---|---|
| λ | `lams`, `train_X` | evaluated λs | (n,) |
| R̂ | `values`, `train_Y` | their mean scores | (n,) |
| σ_n² | `noise`, `train_Yvar` | noise variance of each value, known or inferred | (S, n) |
| ℓ | `lengthscale` | of the RBF kernel, in units of the bounds' width | (S,) |
| σ_f² | `outputscale` | variance of the curve about its mean, standardised | (S,) |
| c² | `MEAN_VARIANCE` | prior variance of the constant mean, standardised | number |
| k(λ,λ') | `covar_module` | σ_f² exp(−(λ−λ')²/2ℓ²) + c² (40) | (S, n, n) |

Outcomes are standardised, so priors are relative to the data and J → a·J + b scales the answer.
The constant mean has a wide Gaussian prior and is integrated out: that is what the term c² does.
The hyperparameters are integrated out too, by S equal members (`lamsearch.hyperparameters`).
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from botorch.models import SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from botorch.posteriors.fully_bayesian import MCMC_DIM, GaussianMixturePosterior
from gpytorch.kernels import ConstantKernel, Kernel, RBFKernel, ScaleKernel
from gpytorch.means import ZeroMean
from torch import Tensor

from lamsearch.hyperparameters import Hyperparameters, equal_weight_members, grid, log_prior
from lamsearch.observations import Observations

MEAN_VARIANCE = 100.0
NOISE_FLOOR = 1e-6
"""Least noise variance, standardised: a thousandth of the values' spread; keeps K invertible."""
NOISE_CEILING = 1e8
"""Largest noise variance, standardised: such a value tells nothing, and K stays well scaled."""


class Surrogate(SingleTaskGP):
    """A BoTorch model of J(λ): any BoTorch acquisition takes it, at X of shape (b, q, 1).

    `posterior` is a Gaussian mixture over the members; the methods below are its exact moments
    and draws, in the units of the scores.

    Args:
        observations: n ≥ 1 evaluated λs.
        hyperparameters: S members, equally weighted.
        bounds: λ's range (low, high). Observations may lie outside.
    """

    _is_ensemble = True
    _supports_batched_models = False

    def __init__(
        self,
        observations: Observations,
        hyperparameters: Hyperparameters,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        transform = _standardize(observations)
        values, noise = _standardized(observations, hyperparameters, transform)
        members = len(hyperparameters.lengthscale)
        super().__init__(
            train_X=observations.lams.expand(members, -1)[..., None],
            train_Y=values.expand(members, -1)[..., None],
            train_Yvar=noise[..., None],
            covar_module=_kernel(hyperparameters, width=bounds[1] - bounds[0]),
            mean_module=ZeroMean(batch_shape=torch.Size([members])),
            outcome_transform=None,
        )
        # Attached afterwards: given to the constructor it would learn its scale anew.
        self.outcome_transform = transform
        self._center, self._scale = transform.means.item(), transform.stdvs.item()
        self.observations = observations
        self.hyperparameters = hyperparameters
        self.bounds = bounds
        self.requires_grad_(False)
        self.eval()

    def posterior(self, X: Tensor, *args: Any, **kwargs: Any) -> GaussianMixturePosterior:
        """BoTorch's entry: the joint posterior at X (b, q, 1), members in dimension `MCMC_DIM`."""
        posterior: Any = super().posterior(X.unsqueeze(MCMC_DIM), *args, **kwargs)
        return GaussianMixturePosterior(distribution=posterior.distribution)

    def condition_on_observations(
        self, X: Tensor, Y: Tensor, noise: Tensor | None = None, **kwargs: Any
    ) -> Surrogate:
        """BoTorch's conditioning and fantasies: X (b, q, 1), Y (f, b, S, q, 1), one a member."""
        if X.ndim < Y.ndim:
            X = X.unsqueeze(MCMC_DIM)
        if noise is not None:
            kwargs["noise"] = noise.expand_as(Y)
        shape = Y.shape[:-1] + X.shape[-1:]
        return cast(Surrogate, super().condition_on_observations(X.expand(shape), Y, **kwargs))

    @torch.no_grad()
    def members(self, lams: Tensor, others: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Each member's posterior of J, Eq. 41–42; the same numbers as `posterior`, but faster.

        Args:
            lams: (g,) λs.
            others: (h,) λs, by default the same.

        Returns:
            Means (S, g) at `lams`, and covariances (S, g, h) of `lams` with `others`.
        """
        means, white = self._condition(lams)
        others_white = white if others is None else self._condition(others)[1]
        others = lams if others is None else others
        prior = self.covar_module(lams[:, None], others[:, None]).to_dense()
        return means, self._scale**2 * (prior - white.mT @ others_white)

    @torch.no_grad()
    def marginals(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Each member's means (S, g) and variances (S, g) at `lams` (g,)."""
        means, white = self._condition(lams)
        prior = self.covar_module(lams[:, None], diag=True)
        return means, self._scale**2 * (prior - white.square().sum(dim=-2)).clamp_min(0)

    def mean(self, lams: Tensor) -> Tensor:
        """Posterior mean (g,) of J at `lams` (g,), hyperparameters integrated out."""
        return self.marginals(lams)[0].mean(dim=0)

    def variance(self, lams: Tensor) -> Tensor:
        """Posterior variance (g,) of J at `lams` (g,), hyperparameters integrated out."""
        means, variances = self.marginals(lams)
        return variances.mean(dim=0) + means.var(dim=0, correction=0)

    def covariance(self, lams: Tensor, others: Tensor | None = None) -> Tensor:
        """Posterior covariance (g, h) of J at `lams` (g,) and `others`, by default the same."""
        others = lams if others is None else others
        means, covariances = self.members(lams, others)
        deviations = means - means.mean(dim=0)
        # Centred on one side is centred: the deviations sum to zero over the members.
        between = deviations.T @ self.marginals(others)[0] / len(means)
        return covariances.mean(dim=0) + between

    def draws(self, lams: Tensor, count: int, *, generator: torch.Generator) -> Tensor:
        """Joint posterior draws (count, g) of J at `lams` (g,), the members taking turns."""
        means, covariances = self.members(lams)
        rounds = math.ceil(count / len(means))
        # Smooth curves on a fine grid: singular to working precision, where Cholesky would fail.
        eigenvalues, vectors = torch.linalg.eigh(covariances)
        roots = vectors * eigenvalues.clamp_min(0).sqrt()[:, None, :]
        shape = (len(means), len(lams), rounds)
        normal = torch.randn(shape, dtype=torch.float64, generator=generator)
        curves: Tensor = means[..., None] + roots @ normal
        return curves.permute(2, 0, 1).reshape(-1, len(lams))[:count]

    @property
    def noise_variance(self) -> float:
        """Noise variance to expect of one more evaluation, in the units of the scores squared."""
        return float(self._noise.mean()) * self._scale**2

    def believe(self, lams: Tensor) -> Surrogate:
        """The model as if λs (p,) under evaluation had come out at each member's posterior mean.

        The mean stays and the uncertainty shrinks by what these evaluations will tell.
        """
        Y = self.marginals(lams)[0][..., None]
        noise = self._noise.mean(dim=-1)[:, None, None]
        self(lams[:1, None])  # gpytorch conditions only models that have predicted once
        return self.condition_on_observations(lams[:, None], Y, noise=noise)

    @property
    def _noise(self) -> Tensor:
        return cast(Tensor, self.likelihood.noise)

    def _condition(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """Means (S, g) of Eq. 41, and R⁻¹k(X, λ) (S, n, g), where R Rᵀ = K + σ_n² I."""
        X, k = self.train_inputs[0], self.covar_module
        root = torch.linalg.cholesky(k(X).to_dense() + self._noise.diag_embed())
        white = torch.linalg.solve_triangular(root, k(X, lams[:, None]).to_dense(), upper=False)
        y = torch.linalg.solve_triangular(root, self.train_targets[..., None], upper=False)
        means: Tensor = self._center + self._scale * (white.mT @ y).squeeze(-1)
        return means, white


def fit_surrogate(
    observations: Observations, *, bounds: tuple[float, float] = (0.0, 1.0)
) -> Surrogate:
    """The surrogate of the observations, hyperparameters by quadrature (Eq. 40–42).

    Args:
        observations: n ≥ 1 evaluated λs; a NaN variance is inferred, one σ_n² for all of them.
        bounds: λ's range (low, high); the lengthscale's prior is relative to its width.

    Raises:
        ValueError: If the bounds are not finite and increasing.
    """
    if not (math.isfinite(bounds[0]) and math.isfinite(bounds[1]) and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be finite with low < high, got {bounds}")
    nodes = grid(inferred_noise=bool(observations.variances.isnan().any()))
    log_weights = _log_evidence(observations, nodes, width=bounds[1] - bounds[0])
    members = equal_weight_members(nodes, log_weights + log_prior(nodes))
    return Surrogate(observations, members, bounds=bounds)


@torch.no_grad()
def _log_evidence(observations: Observations, nodes: Hyperparameters, *, width: float) -> Tensor:
    """Log marginal likelihood (N,) of the standardised values at each node, up to a constant."""
    values, noise = _standardized(observations, nodes, _standardize(observations))
    X = observations.lams[:, None]
    covariance = _kernel(nodes, width=width)(X).to_dense() + noise.diag_embed()
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, values[:, None], upper=False).squeeze(-1)
    evidence: Tensor = -white.square().sum(-1) / 2 - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return evidence


def _kernel(hyperparameters: Hyperparameters, *, width: float) -> Kernel:
    shape = hyperparameters.lengthscale.shape
    kernel = ScaleKernel(RBFKernel(batch_shape=shape), batch_shape=shape)
    constant = ConstantKernel(batch_shape=shape)
    total = (kernel + constant).double()
    kernel.base_kernel.lengthscale = (hyperparameters.lengthscale * width)[:, None, None]
    kernel.outputscale = hyperparameters.outputscale
    constant.constant = torch.full(shape, MEAN_VARIANCE, dtype=torch.float64)
    return total


def _standardized(
    observations: Observations, hyperparameters: Hyperparameters, transform: Standardize
) -> tuple[Tensor, Tensor]:
    """Standardised values (n,) and noise variances (S, n), the unknown ones filled in."""
    values, variances = transform(observations.values[:, None], observations.variances[:, None])
    unknown = variances.squeeze(-1).isnan()
    noise = torch.where(unknown, hyperparameters.noise[:, None], variances.squeeze(-1))
    return values.squeeze(-1), noise.clamp(NOISE_FLOOR, NOISE_CEILING)


def _standardize(observations: Observations) -> Standardize:
    """BoTorch's transform by the values' mean and spread; where they have none, by the noise's."""
    values, known = observations.values, observations.variances.nan_to_num(0.0)
    scale = values.std().item() if len(values) > 1 else 0.0
    if scale <= 1e-9 * values.abs().max().item():
        scale = math.sqrt(known.mean().item() + observations.offset_variance) or 1.0
    # Two points whose mean and standard deviation are the wanted ones: all it can learn from.
    half = scale / math.sqrt(2)
    transform = Standardize(m=1, min_stdv=0.0)
    transform(values.mean() + torch.tensor([[-half], [half]], dtype=torch.float64))
    return transform.eval()
