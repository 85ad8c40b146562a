"""The knowledge gradient: how much one more evaluation will raise the largest posterior mean.

| symbol | code | meaning | shape |
|---|---|---|---|
| a_i | `intercepts` | posterior mean at point i of the line | (g,) |
| b_i | `slopes` | its change for a surprise of one standard deviation at the candidate | (c, g) |

It asks the question that the recommendation answers: the answer will be the argmax of the posterior
mean, so an evaluation is worth what it adds to that maximum, on average.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_SQRT_2PI = math.log(2 * math.pi) / 2


def expected_maximum_gain(intercepts: Tensor, slopes: Tensor) -> Tensor:
    """Return E max_i (a_i + b_i Z) − max_i a_i for standard normal Z (Frazier et al. 2009).

    The maximum is the upper envelope of lines; a kink at c where the slope rises by Δb adds
    Δb·(φ(c) − |c| Φ(−|c|)). The envelope is walked from left to right, all candidates in step;
    kinks beyond ±38 weigh nothing in double precision.

    Args:
        intercepts: (g,) a_i.
        slopes: (c, g) b_i for each of c candidates.

    Returns:
        (c,) gains ≥ 0.
    """
    reach = 38.0
    line = (intercepts - reach * slopes).argmax(dim=1, keepdim=True)
    gain = torch.zeros(len(slopes), 1, dtype=slopes.dtype)
    for _ in range(len(intercepts)):
        rise = slopes - slopes.gather(1, line)
        crossings = (intercepts[line] - intercepts) / rise
        kink, overtaking = crossings.where(rise > 0, torch.inf).min(dim=1, keepdim=True)
        active = kink < reach
        if not active.any():
            break
        tail = normal_density(kink) - kink.abs() * torch.special.ndtr(-kink.abs())
        gain += torch.where(active, rise.gather(1, overtaking) * tail, 0)
        line = torch.where(active, overtaking, line)
    return gain.squeeze(1)


def knowledge_gradient(mean: Tensor, covariance: Tensor, variance: Tensor) -> Tensor:
    """Return the expected rise of the largest posterior mean; exact on the line's points.

    Hyperparameters being integrated out, these are moments of a mixture, and the mean after the
    evaluation is taken as its best linear prediction.

    Args:
        mean: (g,) posterior mean at the points where the maximum may lie.
        covariance: (c, g) posterior covariances of J at c candidates with J at these points.
        variance: (c,) of the evaluation to come: posterior variance of J plus noise.

    Returns:
        (c,) gains ≥ 0, in the units of J.
    """
    deviation = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    return expected_maximum_gain(mean, covariance / deviation[:, None])


def normal_density(z: Tensor) -> Tensor:
    """Return the standard normal density, elementwise."""
    return torch.exp(-z.square() / 2 - LOG_SQRT_2PI)
