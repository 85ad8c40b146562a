"""The utility behind votes: Davidson's likelihood, its mode, and Laplace's approximation."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import integrate
from torch import Tensor

from lamsearch.surrogate.hyperparameters import Hyperparameters
from lamsearch.surrogate.laplace import Comparisons, find_mode, outcome_log_probabilities
from lamsearch.surrogate.preference import fit_preferences
from lamsearch.surrogate.prior import Prior

LAMS = torch.tensor([0.0, 0.3, 0.55, 1.0], dtype=torch.float64)
LINE = torch.linspace(0, 1, 21, dtype=torch.float64)
LOG_TIES = torch.tensor([[math.log(0.6)]], dtype=torch.float64)


def comparisons(table: dict[tuple[int, int], tuple[float, float, float]]) -> Comparisons:
    pairs = torch.tensor(list(table), dtype=torch.long).reshape(-1, 2)
    counts = torch.tensor(list(table.values()), dtype=torch.float64).reshape(-1, 3)
    return Comparisons(LAMS, pairs[:, 0], pairs[:, 1], counts)


VOTES = comparisons({(0, 1): (1, 6, 1), (1, 2): (2, 3, 4), (2, 3): (7, 1, 0), (0, 3): (3, 3, 1)})


def one_prior(lengthscale: float = 0.4, outputscale: float = 2.0) -> Prior:
    nodes = Hyperparameters(
        *torch.tensor([[lengthscale], [outputscale], [0.0]], dtype=torch.float64)
    )
    return Prior(nodes, "matern")


def test_outcomes_are_davidsons() -> None:
    d = torch.linspace(-30, 30, 13, dtype=torch.float64)
    first, second, tie = outcome_log_probabilities(d, LOG_TIES[0]).exp().unbind(dim=-1)
    torch.testing.assert_close(first + second + tie, torch.ones_like(d))
    torch.testing.assert_close(first, second.flip(0))
    torch.testing.assert_close((first / second).log(), d)
    torch.testing.assert_close(tie, 0.6 * (first * second).sqrt())
    without = outcome_log_probabilities(d, torch.tensor(-math.inf, dtype=torch.float64)).exp()
    torch.testing.assert_close(without[:, 0], torch.sigmoid(d))  # Bradley and Terry's


@pytest.mark.parametrize("outputscale", [0.01, 2.0, 100.0])
def test_the_mode_is_a_maximum_of_the_dense_posterior(outputscale: float) -> None:
    prior = one_prior(outputscale=outputscale)
    mode = find_mode(prior, VOTES, LOG_TIES)
    covariance = mode.root[0] @ mode.root[0].T
    torch.testing.assert_close(covariance, prior.covariance(LAMS, LAMS)[0], rtol=1e-5, atol=1e-9)

    def log_posterior(utility: Tensor) -> Tensor:
        difference = utility[VOTES.first] - utility[VOTES.second]
        log_probabilities = outcome_log_probabilities(difference, LOG_TIES[0])
        likelihood = (VOTES.counts * log_probabilities).sum()
        return likelihood - utility @ torch.linalg.solve(covariance, utility) / 2

    utility = mode.root[0] @ mode.white[0]
    gradient = torch.func.grad(log_posterior)(utility)
    torch.testing.assert_close(
        covariance @ gradient, torch.zeros_like(gradient), rtol=0, atol=1e-4 * outputscale**0.5
    )
    hessian = torch.func.hessian(log_posterior)(utility)
    precision = mode.precision_root[0] @ mode.precision_root[0].T
    torch.testing.assert_close(-mode.root[0].T @ hessian @ mode.root[0], precision)


def test_the_evidence_is_near_the_integral_over_one_difference() -> None:
    votes, prior = comparisons({(0, 3): (7, 2, 2)}), one_prior()
    k = prior.covariance(LAMS, LAMS)[0]
    variance = (k[0, 0] + k[3, 3] - 2 * k[0, 3]).item()

    def integrand(difference: float) -> float:
        d = torch.tensor(difference, dtype=torch.float64)
        likelihood = (votes.counts[0] * outcome_log_probabilities(d, LOG_TIES[0, 0])).sum().exp()
        density = math.exp(-(difference**2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
        return likelihood.item() * density

    exact = math.log(integrate.quad(integrand, -20, 20)[0])
    approximate = find_mode(prior, votes, LOG_TIES).log_evidence.item()
    assert approximate == pytest.approx(exact, abs=0.05)


def test_without_votes_the_posterior_is_the_prior() -> None:
    fitted = fit_preferences(comparisons({}))
    means, covariances = fitted.joint(LINE)
    torch.testing.assert_close(means, torch.zeros_like(means))
    torch.testing.assert_close(covariances, fitted.prior.covariance(LINE, LINE))


def test_the_order_within_a_pair_does_not_matter() -> None:
    turned = VOTES._replace(
        first=VOTES.second, second=VOTES.first, counts=VOTES.counts[:, [1, 0, 2]]
    )
    torch.testing.assert_close(
        fit_preferences(VOTES).joint(LINE), fit_preferences(turned).joint(LINE)
    )


def test_draws_have_the_moments_of_the_mixture() -> None:
    fitted = fit_preferences(VOTES)
    draws = fitted.draws(LINE, 64_000, generator=torch.Generator().manual_seed(0))
    means, covariances = fitted.joint(LINE)
    variances = covariances.diagonal(dim1=-2, dim2=-1) + (means - fitted.mean(LINE)).square()
    expected = fitted.mixture_weights @ variances
    assert ((draws.mean(dim=0) - fitted.mean(LINE)).abs() < 5 * (expected / 64_000).sqrt()).all()
    torch.testing.assert_close(draws.var(dim=0), expected, rtol=0.05, atol=0)


def test_more_votes_of_the_same_kind_leave_less_open() -> None:
    many = VOTES._replace(counts=10 * VOTES.counts)

    def open_difference(votes: Comparisons) -> float:
        fitted = fit_preferences(votes)
        draws = fitted.draws(LAMS[[1, 3]], 4096, generator=torch.Generator().manual_seed(0))
        return (draws[:, 0] - draws[:, 1]).std().item()

    assert open_difference(many) < open_difference(VOTES)


def test_ties_are_as_frequent_as_they_were() -> None:
    rare = comparisons({(0, 1): (9, 9, 0)})
    frequent = comparisons({(0, 1): (3, 3, 30)})
    assert fit_preferences(rare).ties < 0.2 < 2 < fit_preferences(frequent).ties


def test_hard_votes_at_near_lams_stay_finite() -> None:
    """Nearly equal λs and 200 one-sided votes: K is singular but for the jitter."""
    lams = torch.tensor([0.5, 0.5 + 1e-9, 0.5 + 2e-9], dtype=torch.float64)
    counts = torch.tensor([[100, 0, 0], [100, 0, 0]], dtype=torch.float64)
    votes = Comparisons(lams, torch.tensor([0, 1]), torch.tensor([1, 2]), counts)
    means, covariances = fit_preferences(votes).joint(LINE)
    assert means.isfinite().all()
    assert covariances.isfinite().all()


def test_a_gain_is_the_mean_and_variance_of_joint_draws() -> None:
    fitted = fit_preferences(VOTES)
    mean, variance = fitted.gain(LINE, 0.25)
    every = torch.cat([LINE, torch.tensor([0.25], dtype=torch.float64)])
    draws = fitted.draws(every, 40_000, generator=torch.Generator().manual_seed(0))
    change = draws[:, :-1] - draws[:, -1:]
    error = variance.sqrt() / math.sqrt(len(draws))
    assert ((change.mean(dim=0) - mean).abs() <= 6 * error + 1e-6).all()
    torch.testing.assert_close(change.var(dim=0), variance, rtol=0.1, atol=1e-4)
    assert variance[5] == pytest.approx(0, abs=1e-8)
