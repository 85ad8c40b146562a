"""Where to evaluate next: acquisitions of arXiv 2601.20198 (A.5, Eq. 43) and the line search.

| symbol | code | meaning | shape |
|---|---|---|---|
| μ(λ), σ²(λ) | `mean`, `variance` | posterior of J(λ) at candidates | (..., g) |
| f⁺ | `incumbent` | the value to improve on | number |
| z | `z` | (μ − f⁺)/σ | (..., g) |
| β_n | `ucb_width` | sqrt(2 log(n²π²/6δ)); not a KL strength | number |

The paper's f⁺ is the largest R̂; R̂ is noisy, and its largest the luckiest. Here the incumbent is
the evaluated λ⁺ of the largest posterior mean, and the improvement J(λ) − J(λ⁺) has the posterior
of a difference: close to λ⁺ little can be gained, however uncertain J(λ⁺) is. Without noise this
is Eq. 43 again. Knowledge gradient asks the question that the recommendation answers: by
how much will the largest posterior *mean* rise, on average, once this candidate is evaluated?
Everything is deterministic: the same surrogate and pending λs give the same next λ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.bayesopt.knowledge_gradient import (
    LOG_SQRT_2PI,
    knowledge_gradient,
    normal_density,
)
from lamsearch.bayesopt.line_search import (
    GRID_SIZE,
    Feasible,
    Function,
    maximize_on_line,
    probable,
    probable_line,
)
from lamsearch.surrogate.model import Surrogate

_FINE_SIZE = 8 * (GRID_SIZE - 1) + 1
"""Size of a grid with a point in every gap between λs that has room for another one."""

CLEARANCE = 0.0025
"""Least distance to a λ evaluated or pending, in units of the bounds' width."""


def log_expected_improvement(mean: Tensor, variance: Tensor, incumbent: float) -> Tensor:
    """Return the logarithm of Eq. 43, log(σ (φ(z) + z Φ(z))), finite where EI underflows.

    Args:
        mean: Posterior means, any shape.
        variance: Posterior variances ≥ 0, the same shape.
        incumbent: f⁺, in the units of `mean`.
    """
    sigma = variance.clamp_min(torch.finfo(variance.dtype).tiny).sqrt()
    z = (mean - incumbent) / sigma
    near = z.clamp_min(-1)
    direct = (normal_density(near) + near * torch.special.ndtr(near)).log()
    # For z < −1 the sum cancels; 1 − |z|·Mills(|z|) does so more slowly, and at last it is 1/z².
    far = (-z).clamp(1, 1e4)
    mills = math.sqrt(math.pi / 2) * torch.special.erfcx(far / math.sqrt(2))
    tail = torch.where(z > -1e4, torch.log1p(-far * mills), -2 * z.abs().clamp_min(1).log())
    return sigma.log() + torch.where(z > -1, direct, tail - z.square() / 2 - LOG_SQRT_2PI)


def expected_improvement(mean: Tensor, variance: Tensor, incumbent: float) -> Tensor:
    """Return Eq. 43, E max(J − f⁺, 0); arguments as in `log_expected_improvement`."""
    return log_expected_improvement(mean, variance, incumbent).exp()


def ucb_width(n: int, delta: float = 0.1) -> float:
    """Return β_n = sqrt(2 log(n²π²/6δ)) for n ≥ 1 evaluations and 0 < δ < 1.

    Raises:
        ValueError: If n or δ is out of its range.
    """
    if n < 1 or not 0 < delta < 1:
        raise ValueError(f"ucb_width needs n ≥ 1 and 0 < δ < 1, got n={n}, δ={delta}")
    return math.sqrt(2 * math.log(n**2 * math.pi**2 / (6 * delta)))


def upper_confidence_bound(mean: Tensor, variance: Tensor, width: float) -> Tensor:
    """Return μ + width·σ, elementwise."""
    return mean + width * variance.clamp_min(0).sqrt()


def next_lam(
    surrogate: Surrogate,
    *,
    acquisition: str = "auto",
    taken: Sequence[float] = (),
    pending: Sequence[float] = (),
    feasible: Feasible | None = None,
    observed: bool = False,
) -> float:
    """Return the λ to evaluate next, a pure function of the arguments.

    Pending λs count as evaluated with the expected outcome ("kriging believer"), so workers
    spread out. No λ is proposed closer than `CLEARANCE` to one evaluated or pending: on a fixed
    image plan the same λ gives the same scores again.

    Args:
        surrogate: Fitted to all finished evaluations.
        acquisition: One of `ACQUISITIONS`.
        taken: More λs that are not to be proposed.
        pending: λs under evaluation by other workers, and those where evaluations failed: there is
            little more to learn near them, so the knowledge gradient moves on.
        feasible: Probability that a constraint holds; it weighs the candidates.
        observed: Whether the answer will be the evaluation with the largest mean score, as in the
            paper; "ei" is then the improvement on that (Eq. 43 with f⁺ = max R̂).

    Raises:
        ValueError: If the acquisition is unknown.
    """
    if acquisition not in ACQUISITIONS:
        raise ValueError(f"unknown acquisition {acquisition!r}; choose from {list(ACQUISITIONS)}")
    low, high = surrogate.bounds
    known = [*surrogate.observations.lams.tolist(), *taken, *pending]
    occupied = torch.tensor(known, dtype=torch.float64)
    if pending:
        surrogate = surrogate.believe(torch.tensor(pending, dtype=torch.float64))
    criterion = ACQUISITIONS[acquisition](surrogate, _Context(feasible, observed))

    def distance(lams: Tensor) -> Tensor:
        return (lams[:, None] - occupied).abs().min(dim=1).values

    def clear(lams: Tensor) -> Tensor:
        return distance(lams) >= CLEARANCE * (high - low)

    def admissible(lams: Tensor) -> Tensor:
        return criterion(lams).where(clear(lams), -torch.inf)

    # A grid that was evaluated itself has only the gaps left.
    line = torch.linspace(low, high, GRID_SIZE, dtype=torch.float64)
    size = GRID_SIZE if clear(line).any() else _FINE_SIZE
    # A finer suggestion than a thousandth of the bounds would be lost in the noise.
    lam, value = maximize_on_line(admissible, surrogate.bounds, size=size, zooms=1)
    # With hundreds of λs no room may be left; then the widest gap is the best there is.
    return lam if value > -torch.inf else maximize_on_line(distance, surrogate.bounds, size=size)[0]


class _Context(NamedTuple):
    """What acquisitions have to know besides the surrogate; fields as in `next_lam`."""

    feasible: Feasible | None
    observed: bool

    def log_probability(self, lams: Tensor) -> Tensor:
        """Return the log probability (g,) that the constraint holds; 0 without one."""
        return torch.zeros_like(lams) if self.feasible is None else self.feasible(lams).log()


def _expected_improvement(surrogate: Surrogate, context: _Context) -> Function:
    if context.observed:
        return _improvement_on_best_observed(surrogate, context)
    evaluated = surrogate.lams
    worth = surrogate.mean(evaluated).where(probable(evaluated, context.feasible), -torch.inf)
    incumbent = evaluated[worth.argmax(dim=0, keepdim=True)]
    incumbent_mean, incumbent_variance = surrogate.marginals(incumbent)

    def criterion(lams: Tensor) -> Tensor:
        mean, variance = surrogate.marginals(lams)
        together = surrogate.joint(lams, incumbent)[1].squeeze(-1)
        difference = (variance + incumbent_variance - 2 * together).clamp_min(0)
        improvement = log_expected_improvement(mean - incumbent_mean, difference, 0.0)
        return _mixed(surrogate, improvement) + context.log_probability(lams)

    return criterion


def _improvement_on_best_observed(surrogate: Surrogate, context: _Context) -> Function:
    evaluated = surrogate.observations
    values = evaluated.values.where(probable(evaluated.lams, context.feasible), -torch.inf)
    best = values.max().item()

    def criterion(lams: Tensor) -> Tensor:
        improvement = log_expected_improvement(*surrogate.marginals(lams), best)
        return _mixed(surrogate, improvement) + context.log_probability(lams)

    return criterion


def _mixed(surrogate: Surrogate, log_improvement: Tensor) -> Tensor:
    """Return the log EI of the mixture: the mean of the members' EI."""
    return (log_improvement + surrogate.mixture_weights.log()[:, None]).logsumexp(dim=0)


def _upper_confidence_bound(surrogate: Surrogate, context: _Context) -> Function:
    width = ucb_width(len(surrogate.observations.lams))

    def criterion(lams: Tensor) -> Tensor:
        bound = upper_confidence_bound(surrogate.mean(lams), surrogate.variance(lams), width)
        return bound.where(probable(lams, context.feasible), -torch.inf)

    return criterion


def _knowledge_gradient(surrogate: Surrogate, context: _Context) -> Function:
    line = probable_line(surrogate.bounds, context.feasible, size=GRID_SIZE // 2 + 1)
    mean = surrogate.mean(line)

    def criterion(lams: Tensor) -> Tensor:
        gain = knowledge_gradient(mean, *surrogate.predictive(lams, line))
        return gain.log() + context.log_probability(lams)

    return criterion


ACQUISITIONS: MappingProxyType[str, Callable[[Surrogate, _Context], Function]] = MappingProxyType(
    {
        "auto": _knowledge_gradient,
        "ei": _expected_improvement,
        "ucb": _upper_confidence_bound,
        "kg": _knowledge_gradient,
    }
)
