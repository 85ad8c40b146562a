"""The answer of a search: λ* with its uncertainty (arXiv 2601.20198, A.5 step 4, and better).

| symbol | code | meaning |
|---|---|---|
| λ* | `lam` | argmax of the posterior mean of J over the bounds |
| J(λ*) | `value` | posterior mean there |
| argmax R̂ | `best_observed` | the paper's answer: the evaluated λ of the largest mean score |

The largest of several noisy means is large in part because its noise is: the paper's answer
overrates itself ("winner's curse"). The posterior mean weighs neighbouring λs together and does
not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lamsearch.acquisition import GRID_SIZE, maximize_on_line
from lamsearch.surrogate import Surrogate


@dataclass(frozen=True)
class Recommendation:
    """λ* and how sure it is.

    Attributes:
        lam: λ*, within the bounds.
        value: Estimate of J(λ*).
        value_stderr: Standard error of `value`, the images' common offset included.
        lam_interval: Central 95 % of the posterior of argmax J, widened to contain `lam`. It
            holds under the model: a smooth curve, Gaussian errors, the priors of the surrogate.
        best_observed: (λ, mean score) of the largest mean score, the paper's answer.
    """

    lam: float
    value: float
    value_stderr: float
    lam_interval: tuple[float, float]
    best_observed: tuple[float, float]


def recommend(
    surrogate: Surrogate, *, draws: int = 2048, seed: int = 0, level: float = 0.95
) -> Recommendation:
    """Recommend λ*.

    Args:
        surrogate: Fitted to all evaluations.
        draws: Posterior curves whose maximisers make the interval.
        seed: Of these draws.
        level: Probability of the interval.
    """
    lam = _best_mean(surrogate)
    at = torch.tensor([lam], dtype=torch.float64)
    variance = surrogate.variance(at).item() + surrogate.observations.offset_variance
    low, high = _argmax_interval(surrogate, draws=draws, seed=seed, level=level)
    observations = surrogate.observations
    best = int(observations.values.argmax())
    return Recommendation(
        lam=lam,
        value=surrogate.mean(at).item(),
        value_stderr=math.sqrt(variance),
        lam_interval=(min(low, lam), max(high, lam)),
        best_observed=(observations.lams[best].item(), observations.values[best].item()),
    )


def _best_mean(surrogate: Surrogate) -> float:
    """The posterior mean's argmax; an evaluated λ where it is as good (one value, a flat curve)."""
    lam, value = maximize_on_line(surrogate.mean, surrogate.bounds, zooms=3)
    low, high = surrogate.bounds
    evaluated = surrogate.observations.lams
    evaluated = evaluated[(low <= evaluated) & (evaluated <= high)]
    if not len(evaluated):
        return lam
    means = surrogate.mean(evaluated)
    deviation = surrogate.variance(torch.tensor([lam], dtype=torch.float64)).sqrt().item()
    rounding = 1e-7 * deviation + 1e-14 * abs(value)
    return evaluated[means.argmax()].item() if means.max().item() >= value - rounding else lam


def _argmax_interval(
    surrogate: Surrogate, *, draws: int, seed: int, level: float
) -> tuple[float, float]:
    lams = torch.linspace(*surrogate.bounds, GRID_SIZE, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    maximisers = lams[surrogate.draws(lams, draws, generator=generator).argmax(dim=1)]
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = maximisers.quantile(tails).tolist()
    return low, high
