"""Moments of the mixture over the hyperparameters: they integrate these out.

| symbol | code | meaning | shape |
|---|---|---|---|
| w | `mixture_weights` | of U distinct members; they sum to 1 | (U,) |
| m_u | `means` | mean under one of them | (U, g) |
| k_u | `variances`, `covariances` | variance, covariance under one of them | (U, g), (U, g, h) |

A variance of the mixture is the mean of the variances plus the variance of the means.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mixed_variance(mixture_weights: Tensor, means: Tensor, variances: Tensor) -> Tensor:
    """Return Σ w (k_u + (m_u − m)²), (g,)."""
    return mixture_weights @ (variances + (means - mixture_weights @ means).square())


def mixed_covariance(
    mixture_weights: Tensor, means: Tensor, other_means: Tensor, covariances: Tensor
) -> Tensor:
    """Return Σ w (k_u + (m_u − m)(m'_u − m')), (g, h), for means (U, g) and (U, h)."""
    between = (means - mixture_weights @ means) * mixture_weights[:, None]
    # Centred as well, although it need not be: a large mean would leave its rounding.
    others = other_means - mixture_weights @ other_means
    mixed: Tensor = torch.einsum("u,ugh->gh", mixture_weights, covariances) + between.T @ others
    return mixed
