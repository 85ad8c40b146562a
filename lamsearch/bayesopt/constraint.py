"""A guard on the search: another reward G must not fall, and how sure it is that it does not.

| symbol | code | meaning | shape |
|---|---|---|---|
| G(λ) | `guard` | mean of the guarded reward on the same images: a surrogate of its own | |
| a, b | `factor`, `bound` | the constraint as one inequality, G(λ) − a·G(0) ≥ b | numbers |
| m, k | `means`, ... | each member's posterior mean and covariance of G | (U, g) |
| w | `mixture_weights` | of the members, the sets of hyperparameters | (U,) |
| v | `offset_variance` | of the offset that all values of the guard share | number |
| c | `shared` | covariance of the member's error with that offset | (U, g) |

    P(λ) = Σ w Φ((m(λ) − a·m(0) − b)/s)
    s² = k(λ,λ) − 2a·k(λ,0) + a²·k(0,0) + (1 − a)²·v + 2(1 − a)(c(λ) − a·c(0))

The offset cancels in a difference to the reference (a = 1) but not in an absolute level (a = 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lamsearch.config.expressions import Constraint
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.model import Surrogate
from lamsearch.surrogate.pairing import observe

_TRACE = 1e-9


def guard_surrogate(
    lams: Sequence[float], scores: Sequence[ArrayLike], *, bounds: tuple[float, float]
) -> Surrogate | None:
    """Fit the surrogate of a reward that may lack scores at some λs.

    Args:
        lams: n evaluated λs.
        scores: n evaluations, as `observe` takes them; those without any score are left out.
        bounds: λ's range.

    Returns:
        The surrogate, or None if there is no score at all.
    """
    scored = [(lam, row) for lam, row in zip(lams, scores, strict=True) if not np.isnan(row).all()]
    if not scored:
        return None
    observations = observe([lam for lam, _ in scored], [row for _, row in scored])
    return fit_surrogate(observations, bounds=bounds)


def feasibility(guard: Surrogate, constraint: Constraint) -> Callable[[Tensor], Tensor]:
    """Return the function λs (g,) → posterior probability (g,) that the constraint holds there.

    Args:
        guard: Surrogate of the guarded reward.
        constraint: The constraint on it.
    """
    origin = torch.zeros(1, dtype=torch.float64)
    reference, reference_variance = guard.marginals(origin)
    factor, bound = constraint.inequality(guard.mean(origin).item())
    reference_shared = guard.offset_covariance(origin)
    left = 1 - factor  # of the offset

    def probability(lams: Tensor) -> Tensor:
        means, variances = guard.marginals(lams)
        together = guard.joint(lams, origin)[1].squeeze(-1)
        spread = variances - 2 * factor * together + factor**2 * reference_variance
        shared = guard.offset_covariance(lams) - factor * reference_shared
        spread += left**2 * guard.observations.offset_variance + 2 * left * shared
        z = (means - factor * reference - bound) / spread.clamp_min(0).sqrt()
        # Without any uncertainty left it holds or does not, Φ(±∞); and 0/0 is 0 ≥ 0.
        z = z.nan_to_num(torch.inf, posinf=torch.inf, neginf=-torch.inf)
        # A heavy-tailed floor keeps the ranking where Φ underflows.
        tails = (1 - _TRACE) * torch.special.ndtr(z) + _TRACE * (0.5 + z.atan() / math.pi)
        held: Tensor = guard.mixture_weights @ tails
        return held.masked_fill((lams == 0) & constraint.certain_at_reference, 1.0)

    return probability
