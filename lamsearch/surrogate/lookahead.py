"""What one more evaluation would tell, before it is made; all in standardised units.

The next value shares errors with the values that are there. After it the mean moves by working
weights, as if errors were independent; the size of the surprise is that of the full model.

| symbol | code | meaning | shape |
|---|---|---|---|
| c | `candidates` | λs of the next evaluation | (c,) |
| Cov(ε, ε_new) | `NextError.shared` | of the next value's error with the values' | (U, n, c) |
| Var(ε_new) | `NextError.variance` | of the next value's error | (U, c) |
| ω̄ | `noise` | mean working variance of an evaluation | (U,) |
| | `slopes` | move of the mean at a point per unit of surprise (eq-move) | (c, g) |
| ς² | `surprise` | variance of the next value given the data (eq-predictive) | (c,) |

Labels like eq-move are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.gaussian_process import GaussianProcess, condition
from lamsearch.surrogate.mixture import mixed_covariance
from lamsearch.surrogate.standardization import NOISE_FLOOR


class NextError(NamedTuple):
    """Moments of the next value's error, as in the module's table."""

    shared: Tensor
    variance: Tensor


def next_error(
    process: GaussianProcess, noise: Tensor, coefficients: Tensor, variance: Tensor
) -> NextError:
    """Return the moments of the next value's error.

    Args:
        process: With n values, and any number of believed ones after them.
        noise: (U,) ω̄, used where the variance is unknown.
        coefficients: (n, c) of the values' errors in the next one's (`Observations.next_error`).
        variance: (c,) of the next one's error; NaN = unknown.
    """
    known = len(coefficients)
    errors = process.data.excess + process.data.noise.diag_embed()
    shared = errors[..., :known] @ coefficients
    explained = (shared[..., :known, :] * coefficients).sum(dim=-2)
    own = variance.where(~variance.isnan(), noise[:, None])
    return NextError(shared, torch.maximum(own, explained))


def predict_value(
    process: GaussianProcess,
    mixture_weights: Tensor,
    error: NextError,
    *,
    noise: Tensor,
    candidates: Tensor,
    points: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return `slopes` (c, g) and `surprise` (c,): moments of the mixture.

    Args:
        process: The U posteriors.
        mixture_weights: (U,) of these.
        error: Of the next value.
        noise: (U,) ω̄.
        candidates: (c,) λs of the next evaluation.
        points: (g,) λs at which the mean is asked for.
    """
    value, curve = process.cross(candidates), process.cross(points)
    prior = process.prior.covariance(candidates, points)
    together = process.working_covariance(prior, value, curve)
    means = process.mean(value)
    between = (means - mixture_weights @ means).square()
    working = process.variance(value, working=True) + noise[:, None]
    slopes = mixed_covariance(mixture_weights, means, process.mean(curve), together) / (
        mixture_weights @ (working + between)
    ).unsqueeze(-1)
    shared = 2 * (value.weights * error.shared).sum(dim=-2)
    variance = process.variance(value) + error.variance - shared
    return slopes, (mixture_weights @ (variance + between)).clamp_min(NOISE_FLOOR)


def believe_value(
    process: GaussianProcess, lam: Tensor, error: NextError, noise: Tensor
) -> GaussianProcess:
    """Return the posterior as if one more value had come out at its expectation (eq-believe).

    Args:
        process: The U posteriors.
        lam: (1,) λ of the value.
        error: Of that value.
        noise: (U,) ω̄.
    """
    # All members agree on the excess: their errors differ only where the variance is unknown, and
    # there the excess is zero.
    excess = torch.cat([error.shared[0], error.variance[:1] - noise[0]])
    expected = process.mean(process.cross(lam))
    return condition(process.prior, process.data.extended(lam, expected, noise[:, None], excess))
