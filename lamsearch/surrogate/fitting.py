"""From observations to the surrogate: standardise, weigh the hyperparameters, condition.

1. Values are standardised (`standardization`).
2. Every node of a fixed grid is weighed by its prior and its evidence (`hyperparameters`).
3. S members stand for that posterior; the distinct ones among them are conditioned on the data
   (`gaussian_process`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lamsearch.surrogate.gaussian_process import Data, condition
from lamsearch.surrogate.hyperparameters import (
    Ensemble,
    Hyperparameters,
    equal_weight_members,
    grid,
    log_prior,
)
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.prior import DEFAULT_KERNEL, KERNELS, Prior
from lamsearch.surrogate.standardization import Standardization

_CELLS = 2**20
"""Entries of the covariances that are computed in one step: more would leave the cache."""


def fit_surrogate(
    observations: Observations,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    kernel: str = DEFAULT_KERNEL,
    constant_mean: bool = True,
) -> Surrogate:
    """Return the surrogate of the observations, hyperparameters by quadrature.

    Args:
        observations: n ≥ 1 evaluated λs; NaN variances are inferred, one σ_n² for all of them.
        bounds: λ's range (low, high); the lengthscale's prior is relative to its width.
        kernel: "rbf", the paper's, or "matern" (Matérn-5/2).
        constant_mean: Whether the mean is an unknown constant; otherwise it is that of the values.

    Raises:
        ValueError: If the bounds are not finite and increasing, or the kernel is unknown.
    """
    _check(bounds, kernel)
    nodes = grid(inferred_noise=bool(observations.working_variances.isnan().any()))
    data = Standardization.of_values(observations).data(observations, nodes.noise)
    prior = Prior(nodes, kernel, bounds[1] - bounds[0], constant_mean)
    homoscedastic = bool(observations.working_variances.isnan().all())
    evidence = _log_evidence(prior, data, homoscedastic=homoscedastic)
    return condition_surrogate(
        observations,
        equal_weight_members(nodes, evidence + log_prior(nodes)),
        bounds=bounds,
        kernel=kernel,
        constant_mean=constant_mean,
    )


def condition_surrogate(
    observations: Observations,
    hyperparameters: Hyperparameters,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
    kernel: str = DEFAULT_KERNEL,
    constant_mean: bool = True,
) -> Surrogate:
    """Return the surrogate of the observations, given the hyperparameters of S equal members."""
    ensemble = Ensemble.from_members(hyperparameters)
    units = Standardization.of_values(observations)
    prior = Prior(ensemble.nodes, kernel, bounds[1] - bounds[0], constant_mean)
    data = units.data(observations, ensemble.nodes.noise)
    return Surrogate(
        observations=observations,
        bounds=bounds,
        process=condition(prior, data),
        members=ensemble.members,
        mixture_weights=ensemble.mixture_weights,
        noise=data.noise.mean(dim=-1),
        units=units,
    )


def _check(bounds: tuple[float, float], kernel: str) -> None:
    if not (math.isfinite(bounds[0]) and math.isfinite(bounds[1]) and bounds[0] < bounds[1]):
        raise ValueError(f"bounds must be finite with low < high, got {bounds}")
    if kernel not in KERNELS:
        raise ValueError(f"unknown kernel {kernel!r}; choose from {list(KERNELS)}")


@torch.no_grad()
def _log_evidence(prior: Prior, data: Data, *, homoscedastic: bool) -> Tensor:
    """Return the log evidence (N,) of the prior's nodes, up to a constant."""
    if homoscedastic:
        return prior.homoscedastic_evidence(data.lams, data.targets[0], data.noise[:, 0])
    step = max(1, _CELLS // len(data.lams) ** 2)
    nodes = torch.split(torch.arange(len(prior.nodes.lengthscale)), step)
    return torch.cat([condition(prior.take(n), data.take(n)).log_evidence() for n in nodes])
