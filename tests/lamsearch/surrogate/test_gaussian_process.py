"""The process: ordinary kriging with a working covariance, and its sandwich covariance."""

import numpy as np
import pytest
import torch

from lamsearch.surrogate.fitting import condition_surrogate
from lamsearch.surrogate.gaussian_process import Data, condition
from lamsearch.surrogate.hyperparameters import Hyperparameters
from lamsearch.surrogate.prior import Prior
from lamsearch.surrogate.standardization import NOISE_FLOOR
from surrogate_data import GRID, paired, tensor


def test_the_covariance_is_the_mean_square_error_of_the_mean():
    """With correlated errors Σ: E = K** − WᵀK − KᵀW + Wᵀ(K + Σ)W for the weights W of the mean."""
    observed = paired(own=0.3)
    values = Hyperparameters(tensor(0.4), tensor(2.0), tensor(0.01))
    surrogate = condition_surrogate(observed, values, kernel="rbf")
    scale = observed.values.std().item() ** 2
    x, grid = observed.lams.numpy(), GRID.numpy()

    def k(a, b):
        return 2.0 * scale * np.exp(-((a[:, None] - b) ** 2) / (2 * 0.4**2))

    weights = surrogate.kriging_weights(GRID).numpy()
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-10)  # a constant passes unchanged
    mean = weights.T @ observed.values.numpy()
    np.testing.assert_allclose(surrogate.mean(GRID), mean, atol=1e-10)
    errors = observed.covariance.numpy() + scale * NOISE_FLOOR * np.eye(5)
    both = weights.T @ k(x, grid)
    expected = k(grid, grid) - both - both.T + weights.T @ (k(x, x) + errors) @ weights
    np.testing.assert_allclose(surrogate.covariance(GRID), expected, atol=1e-10)
    np.testing.assert_allclose(surrogate.variance(GRID), expected.diagonal(), atol=1e-10)


def process(constant_mean, n=6):
    """One process with independent errors of different sizes."""
    generator = torch.Generator().manual_seed(1)
    lams, targets, noise = torch.rand(3, n, dtype=torch.float64, generator=generator)
    prior = Prior(Hyperparameters(tensor(0.4), tensor(2.0), tensor(0.1)), "rbf", 1.0, constant_mean)
    excess = torch.zeros(n, n, dtype=torch.float64)
    return condition(prior, Data(lams, targets[None], noise[None] + 0.1, excess))


@pytest.mark.parametrize("constant_mean", [True, False])
def test_the_evidence_is_the_density_of_the_targets(constant_mean):
    """Up to a constant: with a flat prior of the mean, the limit of a wide Gaussian one."""
    found = []
    for shift in (0.0, 0.7):
        gp = process(constant_mean)
        targets = gp.data.targets + shift * GRID[:6]
        gp = condition(gp.prior, gp.data._replace(targets=targets))
        covariance = gp.root[0] @ gp.root[0].T
        if constant_mean:
            covariance = covariance + 1e6
        density = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance)
        found.append((gp.log_evidence().item(), density.log_prob(targets[0]).item()))
    (a, expected_a), (b, expected_b) = found
    assert b - a == pytest.approx(expected_b - expected_a, abs=1e-4)


@pytest.mark.parametrize("constant_mean", [True, False])
def test_one_more_value_at_a_time_is_all_at_once(constant_mean):
    whole = process(constant_mean)
    lams, targets, noise, _ = whole.data
    part = Data(lams[:4], targets[:, :4], noise[:, :4], torch.zeros(4, 4, dtype=torch.float64))
    for j in (4, 5):
        part = part.extended(lams[j : j + 1], targets[:, j : j + 1], noise[:, j : j + 1])
    for found, expected in zip(
        condition(whole.prior, part).joint(GRID), whole.joint(GRID), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_processes_that_are_taken_twice_are_the_same():
    whole, index = process(constant_mean=True), torch.tensor([0, 0])
    twice = condition(whole.prior.take(index), whole.data.take(index))
    for found, expected in zip(twice.marginals(GRID), whole.marginals(GRID), strict=True):
        assert torch.equal(found[0], found[1])
        np.testing.assert_allclose(found[:1], expected, atol=1e-12)
