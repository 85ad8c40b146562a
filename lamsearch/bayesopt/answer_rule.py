"""The rule that picks λ*, given the surrogate: its mean's argmax where the constraint holds."""

from __future__ import annotations

import torch
from torch import Tensor

from lamsearch.bayesopt.line_search import GRID_SIZE, Feasible, maximize_on_line
from lamsearch.surrogate.model import Surrogate


def choose_lam(
    surrogate: Surrogate,
    *,
    observed: bool,
    feasible: Feasible | None,
    confidence: float,
    required: float,
) -> float:
    """Return λ*, the argmax of the posterior mean, or of the evaluations if `observed`.

    Args:
        surrogate: Fitted to all evaluations.
        observed: Whether the answer is the best evaluation, as in the paper.
        feasible: Probability of a constraint.
        confidence: Required of the constraint.
        required: What is attainable of that over the bounds; over the evaluated λs it may be less.
    """
    if not observed:
        return _best_mean(surrogate, feasible, required)
    lams, values = surrogate.observations.lams, surrogate.observations.values
    if feasible is not None:
        required = min(confidence, feasible(lams).max().item())
        values = values.where(is_allowed(lams, feasible, required), -torch.inf)
    return lams[values.argmax()].item()


def even_line(surrogate: Surrogate, size: int = GRID_SIZE) -> Tensor:
    """Return an even grid (size,) over the bounds."""
    return torch.linspace(*surrogate.bounds, size, dtype=torch.float64)


def is_allowed(lams: Tensor, feasible: Feasible | None, confidence: float) -> Tensor:
    """Return where the constraint holds with the required confidence (g,)."""
    return torch.ones_like(lams).bool() if feasible is None else feasible(lams) >= confidence


def attainable(surrogate: Surrogate, feasible: Feasible | None, confidence: float) -> float:
    """Return the required confidence, or the largest that is attainable, but for rounding."""
    if feasible is None:
        return confidence
    low, high = surrogate.bounds
    known = torch.cat([even_line(surrogate), surrogate.observations.lams, torch.zeros(1).double()])
    inside = known[(low <= known) & (known <= high)]
    return min(confidence, (1 - 1e-6) * feasible(inside).max().item())


def _best_mean(surrogate: Surrogate, feasible: Feasible | None, required: float) -> float:
    """Return the argmax of the posterior mean.

    An evaluated λ is preferred where it is as good: with a single value, or on a flat curve.
    """

    def mean(lams: Tensor) -> Tensor:
        return surrogate.mean(lams).where(is_allowed(lams, feasible, required), -torch.inf)

    lam, value = maximize_on_line(mean, surrogate.bounds, zooms=3)
    low, high = surrogate.bounds
    evaluated = surrogate.observations.lams
    evaluated = evaluated[(low <= evaluated) & (evaluated <= high)]
    if not len(evaluated):
        return lam
    means = mean(evaluated)
    if value == -torch.inf:  # the constraint holds at single points only
        return evaluated[means.argmax()].item()
    deviation = surrogate.variance(torch.tensor([lam], dtype=torch.float64)).sqrt().item()
    rounding = 1e-7 * deviation + 1e-14 * abs(value)
    return evaluated[means.argmax()].item() if means.max().item() >= value - rounding else lam
