"""The answer of a search: λ* with its uncertainty (arXiv 2601.20198, A.5 step 4, and better).

| symbol | code | meaning |
|---|---|---|
| λ* | `lam` | argmax of the posterior mean of J over the bounds, where the constraint holds |
| J(λ*) | `value` | posterior mean there |
| argmax R̂ | `best_observed` | the paper's answer: the evaluated λ of the largest mean score |
| J(λ*) − J(0), J(λ*) − J(1) | `Gain` | over the reference and the aligned model |
| P(J(λ*) ≥ max J − ε) | `probability` | of losing at most ε; its complement is the risk |

The largest of several noisy means is large in part because its noise is: the paper's answer
overrates itself ("winner's curse"). The posterior mean weighs neighbouring λs together and does
not. All statements hold under the model: a curve as smooth as the kernel says, Gaussian errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lamsearch.bayesopt.acquisition import GRID_SIZE, Feasible, maximize_on_line
from lamsearch.surrogate.model import Surrogate, square_root

MINIMUM_EVALUATIONS = 5
"""A search is not stopped before."""

LEVEL = 0.95
_NORMAL_QUANTILE = 1.959964
_DRAWS = 2048
_PLAN_POINTS = 12


@dataclass(frozen=True)
class Gain:
    """A difference of J with its standard error, and its 95 % interval."""

    value: float
    stderr: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Recommendation:
    """λ* and how sure it is.

    Attributes:
        lam: λ*, within the bounds.
        value: Estimate of J(λ*).
        value_stderr: Standard error of `value`, the images' common offset included.
        lam_interval: Central 95 % of the posterior of the best λ where the constraint holds, what
            is not known of the constraint included; widened to contain `lam`.
        best_observed: (λ, mean score) of the largest mean score, the paper's answer.
        gain_over_reference: J(λ*) − J(0).
        gain_over_aligned: J(λ*) − J(1).
        epsilon: ε, in the units of the scores.
        probability: That J(λ*) is at most ε below the best J where the constraint allows λ* to be.
        expected_loss: Mean of max J − J(λ*).
        plan_share: Part of the expected loss that would stay if the images' curve were known at
            every λ, so that only more images can reduce it; None where errors are independent, and
            for the paper's answer, which loses for other reasons.
    """

    lam: float
    value: float
    value_stderr: float
    lam_interval: tuple[float, float]
    best_observed: tuple[float, float]
    gain_over_reference: Gain
    gain_over_aligned: Gain
    epsilon: float
    probability: float
    expected_loss: float
    plan_share: float | None


@dataclass(frozen=True)
class Tolerance:
    """ε: how much of J may be lost, in the units of the scores or as a share of the curve's range.

    The range is that of the fitted curve at the evaluated λs: noise is not in it.
    """

    amount: float
    relative: bool = True

    def __call__(self, surrogate: Surrogate) -> float:
        """Return ε in the units of the scores."""
        if not self.relative:
            return self.amount
        means = surrogate.mean(surrogate.observations.lams)
        return self.amount * (means.max() - means.min()).item()


FIVE_PERCENT = Tolerance(0.05)


def recommend(
    surrogate: Surrogate,
    *,
    observed: bool = False,
    tolerance: Tolerance = FIVE_PERCENT,
    feasible: Feasible | None = None,
    confidence: float = 0.95,
) -> Recommendation:
    """Recommend λ*.

    Args:
        surrogate: Fitted to all evaluations.
        observed: Answer as the paper does: the evaluated λ of the largest mean score.
        tolerance: ε.
        feasible: Probability of a constraint.
        confidence: With which it has to hold at λ*; where it does so nowhere, λ* is the most
            probable λ.
    """
    best = _best_observed(surrogate)
    least = _attainable(surrogate, feasible, confidence)
    lam = _answer(surrogate, observed, feasible, confidence, least=least)
    at = torch.tensor([lam], dtype=torch.float64)
    curves = _Curves(surrogate, lam, feasible, least)
    low, high = curves.interval()
    epsilon, loss = tolerance(surrogate), curves.loss.mean().item()
    return Recommendation(
        lam=lam,
        value=surrogate.mean(at).item(),
        value_stderr=surrogate.level_variance(at).sqrt().item(),
        lam_interval=(min(low, lam), max(high, lam)),
        best_observed=best,
        gain_over_reference=gain(surrogate, lam, 0.0),
        gain_over_aligned=gain(surrogate, lam, 1.0),
        epsilon=epsilon,
        probability=curves.probability(epsilon),
        expected_loss=loss,
        plan_share=None if observed else _plan_share(surrogate, loss, feasible, least),
    )


def should_stop(
    surrogate: Surrogate,
    *,
    tolerance: Tolerance,
    confidence: float,
    feasible: Feasible | None = None,
    observed: bool = False,
) -> bool:
    """Tell whether P(J(λ*) ≥ max J − ε) has reached the confidence asked, under the model.

    Args:
        surrogate: Fitted to all evaluations; fewer than `MINIMUM_EVALUATIONS` are never enough.
        tolerance: ε.
        confidence: In (0, 1); asked of the constraint too.
        feasible: As in `recommend`.
        observed: As in `recommend`.
    """
    if len(surrogate.observations.lams) < MINIMUM_EVALUATIONS:
        return False
    least = _attainable(surrogate, feasible, confidence)
    lam = _answer(surrogate, observed, feasible, confidence, least=least)
    if not _allowed(torch.tensor([lam], dtype=torch.float64), feasible, confidence).all():
        return False
    curves = _Curves(surrogate, lam, feasible, least)
    return curves.probability(tolerance(surrogate)) >= confidence


def gain(surrogate: Surrogate, lam: float, other: float) -> Gain:
    """Return J(lam) − J(other): a paired difference, the images' common offset cancels."""
    pair = torch.tensor([lam, other], dtype=torch.float64)
    mean, covariance = surrogate.mean(pair), surrogate.covariance(pair)
    variance = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]).item()
    value, stderr = (mean[0] - mean[1]).item(), math.sqrt(max(variance, 0.0))
    half = _NORMAL_QUANTILE * stderr
    return Gain(value, stderr, (value - half, value + half))


class _Curves:
    """Posterior draws of J at λ* and on the line.

    Attributes:
        loss: (draws,) what λ* loses against the best λ that the constraint allows to recommend.
    """

    def __init__(
        self, surrogate: Surrogate, lam: float, feasible: Feasible | None, least: float
    ) -> None:
        at = torch.tensor([lam], dtype=torch.float64)
        self._lams = torch.cat([at, _line(surrogate)])
        self._bounds = surrogate.bounds
        self._feasible, self._generator = feasible, torch.Generator().manual_seed(0)
        level = surrogate.mean(at).item()
        self._draws = surrogate.draws(self._lams, _DRAWS, generator=self._generator, less=level)
        best = self._draws.where(_allowed(self._lams, feasible, least), -torch.inf).max(dim=1)
        self.loss = (best.values - self._draws[:, 0]).clamp_min(0)

    def interval(self) -> tuple[float, float]:
        """Central interval of the best λ where the constraint holds.

        Where that is gets drawn too: one level a draw, and the constraint holds wherever it does
        so with at least this probability.
        """
        draws = self._draws
        if self._feasible is not None:
            probability = self._feasible(self._lams)
            levels = torch.rand(len(draws), 1, dtype=torch.float64, generator=self._generator)
            draws = draws.where(probability >= levels * probability.max(), -torch.inf)
        tails = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
        low, high = self._lams[draws.argmax(dim=1)].quantile(tails).tolist()
        # A point of the line stands for the λs that are nearest to it.
        (least, most), cell = self._bounds, (self._lams[2] - self._lams[1]).item()
        return max(low - cell / 2, least), min(high + cell / 2, most)

    def probability(self, epsilon: float) -> float:
        """P(J(λ*) ≥ max J − ε)."""
        return (self.loss <= epsilon).double().mean().item()


def _best_observed(surrogate: Surrogate) -> tuple[float, float]:
    values = surrogate.observations.values
    best = int(values.argmax())
    return surrogate.observations.lams[best].item(), values[best].item()


def _answer(
    surrogate: Surrogate,
    observed: bool,
    feasible: Feasible | None,
    confidence: float,
    *,
    least: float,
) -> float:
    """λ*: over the bounds `least` is attainable, over the evaluated λs it may be still less."""
    if not observed:
        return _best_mean(surrogate, feasible, least)
    lams, values = surrogate.observations.lams, surrogate.observations.values
    if feasible is not None:
        least = min(confidence, feasible(lams).max().item())
        values = values.where(_allowed(lams, feasible, least), -torch.inf)
    return lams[values.argmax()].item()


def _line(surrogate: Surrogate, size: int = GRID_SIZE) -> Tensor:
    return torch.linspace(*surrogate.bounds, size, dtype=torch.float64)


def _allowed(lams: Tensor, feasible: Feasible | None, confidence: float) -> Tensor:
    """Where the constraint holds with the confidence asked (g,)."""
    return torch.ones_like(lams).bool() if feasible is None else feasible(lams) >= confidence


def _attainable(surrogate: Surrogate, feasible: Feasible | None, confidence: float) -> float:
    """The confidence asked, or the largest there is, but for rounding."""
    if feasible is None:
        return confidence
    low, high = surrogate.bounds
    known = torch.cat([_line(surrogate), surrogate.observations.lams, torch.zeros(1).double()])
    inside = known[(low <= known) & (known <= high)]
    return min(confidence, (1 - 1e-6) * feasible(inside).max().item())


def _best_mean(surrogate: Surrogate, feasible: Feasible | None, least: float) -> float:
    """The posterior mean's argmax; an evaluated λ where it is as good (one value, a flat curve)."""

    def mean(lams: Tensor) -> Tensor:
        return surrogate.mean(lams).where(_allowed(lams, feasible, least), -torch.inf)

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


def _plan_share(
    surrogate: Surrogate, loss: float, feasible: Feasible | None, least: float
) -> float | None:
    """Share of the expected loss that stays if the images' mean scores were known at every λ."""
    if surrogate.observations.deviations is None or loss <= 0:
        return None
    line = _line(surrogate, GRID_SIZE // 2 + 1)
    everywhere = surrogate.believe(line[:: len(line) // _PLAN_POINTS])
    line = line[_allowed(line, feasible, least)]
    if not len(line):
        return None
    # What the posterior mean would still move by: the law of total covariance.
    moves = surrogate.covariance(line) - everywhere.covariance(line)
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(len(line), _DRAWS, dtype=torch.float64, generator=generator)
    means = surrogate.mean(line)[:, None] + square_root(moves) @ normal
    saved = means.max(dim=0).values.mean() - surrogate.mean(line).max()
    return min(max(1 - saved.item() / loss, 0.0), 1.0)
