"""Distributions whose noised scores are known, so that their denoisers are exact.

| symbol | code                 | meaning                                               | shape  |
|--------|----------------------|-------------------------------------------------------|--------|
| m      | `mean`               | mean of p(x_0)                                        | (D,)   |
| S      | `covariance`         | its covariance                                        | (D, D) |
| ᾱ      | `alpha_prod`, `rate` | the noise schedule's ᾱ_t                              | ()     |
| x_t    | `sample`             | √ᾱ x_0 + √(1 − ᾱ) z, of law N(√ᾱ m, ᾱ S + (1 − ᾱ) I)  | (B, D) |
| ε      |                      | −√(1 − ᾱ) ∇ log p(x_t), the noise prediction          | (B, D) |
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor

Denoiser = Callable[..., tuple[Tensor]]

_SCHEDULE = DDPMScheduler().alphas_cumprod.double()
_SIGMAS = ((1 - _SCHEDULE) / _SCHEDULE).sqrt()


def alpha_prod(timestep: Any) -> Tensor:
    """Return ᾱ at a timestep of the schedule β = 1e-4 ... 0.02, linear, as Euler samplers do."""
    low = min(int(timestep), len(_SIGMAS) - 2)
    sigma = torch.lerp(_SIGMAS[low], _SIGMAS[low + 1], float(timestep) - low)
    return 1 / (1 + sigma**2)


@dataclass(frozen=True)
class Normal:
    """One Gaussian N(m, S), or a batch of them.

    Attributes:
        mean: (..., D), float64.
        covariance: (..., D, D), float64.
    """

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, mean: list[float], covariance: list[list[float]]) -> Normal:
        """Return one Gaussian from plain numbers."""
        return cls(
            torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64)
        )

    def denoiser(self, repeats: int = 1) -> Denoiser:
        """Return the exact noise prediction; a batch of L Gaussians takes `repeats` samples each.

        The result is called like a UNet, with (B, D) samples, B = L · repeats.
        """
        mean, covariance = self.mean, self.covariance
        if mean.ndim > 1:
            mean = mean.repeat_interleave(repeats, 0)
            covariance = covariance.repeat_interleave(repeats, 0)

        def predict(sample: Tensor, timestep: Any, return_dict: bool = False) -> tuple[Tensor]:
            rate = alpha_prod(timestep)
            noised = rate * covariance + (1 - rate) * torch.eye(mean.shape[-1]).double()
            away = sample.double() - rate.sqrt() * mean
            score = -torch.linalg.solve(noised, away.unsqueeze(-1)).squeeze(-1)
            return ((-(1 - rate).sqrt() * score).to(sample.dtype),)

        return predict


def realigned_normal(reference: Normal, aligned: Normal, lams: Tensor) -> Normal:
    """Return p[β/λ] ∝ p_ref^(1−λ) p_al^λ (Eq. 4), one Gaussian per λ: what is to be emulated.

    Raises:
        ValueError: If a precision is not positive: Eq. 4 then has no density.
    """
    weight = lams[:, None, None]
    precisions = [torch.linalg.inv(p.covariance) for p in (reference, aligned)]
    precision = (1 - weight) * precisions[0] + weight * precisions[1]
    if not bool((torch.linalg.eigvalsh(precision) > 0).all()):
        raise ValueError("p_ref^(1-lam) p_al^lam cannot be normalised at some lam: bring it nearer")
    covariance = torch.linalg.inv(precision)
    pull = (1 - weight) * (precisions[0] @ reference.mean[:, None])
    pull = pull + weight * (precisions[1] @ aligned.mean[:, None])
    return Normal((covariance @ pull).squeeze(-1), covariance)


def guided(condition: Denoiser, unconditional: Denoiser, scale: float) -> Denoiser:
    """Return ε(∅) + γ (ε(c) − ε(∅)), classifier-free guidance."""

    def predict(sample: Tensor, timestep: Any, return_dict: bool = False) -> tuple[Tensor]:
        null = unconditional(sample, timestep)[0]
        return (null + scale * (condition(sample, timestep)[0] - null),)

    return predict


@dataclass(frozen=True)
class NormalMixture:
    """A mixture of isotropic Gaussians Σ_k w_k N(m_k, v I).

    Attributes:
        weights: w, (K,).
        means: m_k, (K, D).
        variance: v.
    """

    weights: Tensor
    means: Tensor
    variance: float

    def log_density(self, points: Tensor, rate: float | Tensor = 1.0) -> Tensor:
        """Return log p(x_t) at (N, D) points; `rate` is ᾱ."""
        spread = torch.as_tensor(rate * self.variance + (1 - rate))
        away = points[:, None] - torch.as_tensor(rate).sqrt() * self.means
        logs = self.weights.log() - away.square().sum(-1) / (2 * spread)
        return torch.logsumexp(logs, 1) - points.shape[1] / 2 * torch.log(2 * torch.pi * spread)

    def denoiser(self) -> Denoiser:
        """Return the exact noise prediction, called like a UNet."""

        def predict(sample: Tensor, timestep: Any, return_dict: bool = False) -> tuple[Tensor]:
            rate = alpha_prod(timestep).float()
            spread = rate * self.variance + (1 - rate)
            away = sample[:, None] - rate.sqrt() * self.means.to(sample)
            logs = self.weights.to(sample).log() - away.square().sum(-1) / (2 * spread)
            score = -(logs.softmax(1)[..., None] * away).sum(1) / spread
            return (-(1 - rate).sqrt() * score,)

        return predict
