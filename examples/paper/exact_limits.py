"""The stepwise mixture in one dimension with ever more steps, in closed form.

| symbol | code        | meaning                                                              |
|--------|-------------|----------------------------------------------------------------------|
| w_i    |             | 1 − λ and λ, the weights of the reference and the aligned model      |
| m_i, v_i |           | their means and variances                                            |
| u      |             | (1 − ᾱ)/ᾱ, the variance of the noise beside x_0                      |
| c      | `noise`     | 1 for deterministic samplers, 2 for those that draw posterior noise  |

In the coordinate x_t/√ᾱ, model i predicts the score (m_i − x)/(v_i + u), and u falls from ∞ to 0
along dx = −(c/2) Σ w_i (m_i − x)/(v_i + u) du (plus noise of variance |du| for c = 2). This is
linear, so that with A(u) = Π (v_i/(v_i + u))^(c w_i / 2), what is left at u = 0 of an x at u:

    mean     = ∫ A(u) (c/2) Σ w_i m_i/(v_i + u) du
    variance = Π v_i^w_i  for c = 1,   ∫ A(u)² du  for c = 2                      (u from 0 to ∞)

Eq. 4 has 1/variance = Σ w_i/v_i instead: the harmonic mean where a deterministic sampler gives the
geometric one. In ln v the two differ by λ(1 − λ) ln²(v_1/v_0)/2, to second order.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.integrate import quad

from examples.paper.exact_densities import Normal


def limit(reference: Normal, aligned: Normal, lam: float, *, draws_noise: bool) -> Normal:
    """Return what a sampler of infinitely many steps gives at λ, for one dimension.

    Args:
        reference: N(m_0, v_0).
        aligned: N(m_1, v_1).
        lam: λ.
        draws_noise: Whether it is ancestral, as DDPM is; otherwise deterministic, as DDIM is.
    """
    noise = 2 if draws_noise else 1
    weights = np.array([1 - lam, lam])
    means = np.array([float(p.mean) for p in (reference, aligned)])
    variances = np.array([float(p.covariance) for p in (reference, aligned)])

    def left(u: float) -> float:
        return float(np.prod((variances / (variances + u)) ** (noise * weights / 2)))

    def pull(u: float) -> float:
        return left(u) * noise / 2 * float(np.sum(weights * means / (variances + u)))

    geometric = math.prod(variances**weights)
    variance = _integral(lambda u: left(u) ** 2) if draws_noise else geometric
    return Normal.of([_integral(pull)], [[variance]])


def _integral(function: Callable[[float], float]) -> float:
    """Return ∫ function(u) du over u > 0, by u = e^y, since it spans many orders of magnitude."""
    return float(quad(lambda y: function(math.exp(y)) * math.exp(y), -30, 60, limit=400)[0])
