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

from lamsearch.bayesopt.answer_rule import attainable, choose_lam, is_allowed
from lamsearch.bayesopt.config import FIVE_PERCENT, Tolerance
from lamsearch.bayesopt.line_search import Feasible
from lamsearch.bayesopt.posterior_curves import PosteriorCurves, plan_share
from lamsearch.surrogate.model import Surrogate

MINIMUM_EVALUATIONS = 5
"""A search does not stop before this number of evaluations."""

_NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class Gain:
    """A difference of J.

    Attributes:
        value: Estimate of the difference.
        stderr: Its standard error.
        interval: Its 95 % interval (low, high), under the model.
    """

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
        confidence: Probability with which it must hold at λ*; if it does so nowhere, λ* is the
            most probable λ.
    """
    best = _best_observed(surrogate)
    required = attainable(surrogate, feasible, confidence)
    lam = choose_lam(
        surrogate, observed=observed, feasible=feasible, confidence=confidence, required=required
    )
    at = torch.tensor([lam], dtype=torch.float64)
    curves = PosteriorCurves(surrogate, lam, feasible=feasible, required=required)
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
        plan_share=None
        if observed
        else plan_share(surrogate, loss, feasible=feasible, required=required),
    )


def should_stop(
    surrogate: Surrogate,
    *,
    tolerance: Tolerance,
    confidence: float,
    feasible: Feasible | None = None,
    observed: bool = False,
) -> bool:
    """Tell whether P(J(λ*) ≥ max J − ε) reaches the required confidence, under the model.

    Args:
        surrogate: Fitted to all evaluations; fewer than `MINIMUM_EVALUATIONS` are never enough.
        tolerance: ε.
        confidence: In (0, 1); required of the constraint too.
        feasible: As in `recommend`.
        observed: As in `recommend`.
    """
    if len(surrogate.observations.lams) < MINIMUM_EVALUATIONS:
        return False
    required = attainable(surrogate, feasible, confidence)
    lam = choose_lam(
        surrogate, observed=observed, feasible=feasible, confidence=confidence, required=required
    )
    if not is_allowed(torch.tensor([lam], dtype=torch.float64), feasible, confidence).all():
        return False
    curves = PosteriorCurves(surrogate, lam, feasible=feasible, required=required)
    return curves.probability(tolerance(surrogate)) >= confidence


def gain(surrogate: Surrogate, lam: float, other: float) -> Gain:
    """Return J(lam) − J(other): a paired difference, the images' common offset cancels."""
    pair = torch.tensor([lam, other], dtype=torch.float64)
    mean, covariance = surrogate.mean(pair), surrogate.covariance(pair)
    variance = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]).item()
    value, stderr = (mean[0] - mean[1]).item(), math.sqrt(max(variance, 0.0))
    half = _NORMAL_QUANTILE * stderr
    return Gain(value, stderr, (value - half, value + half))


def _best_observed(surrogate: Surrogate) -> tuple[float, float]:
    values = surrogate.observations.values
    best = int(values.argmax())
    return surrogate.observations.lams[best].item(), values[best].item()
