"""The surrogate integrates its hyperparameters out: exact moments and draws of a mixture."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from lamsearch.surrogate.fitting import condition_surrogate, fit_surrogate
from lamsearch.surrogate.hyperparameters import Hyperparameters
from lamsearch.surrogate.standardization import NOISE_FLOOR
from surrogate_data import GRID, independent, paired, tensor

MEMBER_VALUES = [(0.2, 1.0, 0.01), (0.5, 3.0, 0.1), (1.2, 0.3, 0.001)]


def dense(observed, lengthscale, outputscale, noise):
    """Eq. 41–42 in NumPy, in units of the scores."""
    x, y = observed.lams.numpy(), observed.values.numpy()
    center, scale = y.mean(), y.std(ddof=1)
    variances = observed.variances.numpy() / scale**2
    variances = np.where(np.isnan(variances), noise, variances) + NOISE_FLOOR

    def k(a, b):
        squares = (a[:, None] - b[None, :]) ** 2
        return outputscale * np.exp(-squares / (2 * lengthscale**2))

    grid, one = GRID.numpy(), np.ones(len(x))
    precision = np.linalg.inv(k(x, x) + np.diag(variances))
    gain = k(grid, x) @ precision
    level = one @ precision @ (y - center) / scale / (one @ precision @ one)
    mean = center + scale * (level + gain @ ((y - center) / scale - level))
    trend = 1 - gain @ one
    covariance = k(grid, grid) - gain @ k(x, grid)
    return mean, scale**2 * (covariance + np.outer(trend, trend) / (one @ precision @ one))


MEMBER_VALUES = [(0.2, 1.0, 0.01), (0.5, 3.0, 0.1), (1.2, 0.3, 0.001)]


@pytest.fixture
def fixed():
    observed = independent(variances=(0.01, math.nan, 0.01, math.nan, 0.02))
    columns = zip(*MEMBER_VALUES, strict=True)
    values = Hyperparameters(*(tensor(*column) for column in columns))
    return condition_surrogate(observed, values, kernel="rbf")


def test_distinct_members_equal_the_dense_formulas(fixed):
    means, covariances = fixed.joint(GRID)
    _, variances = fixed.marginals(GRID)
    for s, values in enumerate(MEMBER_VALUES):
        mean, covariance = dense(fixed.observations, *values)
        np.testing.assert_allclose(means[s], mean, atol=1e-8)
        np.testing.assert_allclose(covariances[s], covariance, atol=1e-8)
        np.testing.assert_allclose(variances[s], np.diag(covariance), atol=1e-8)


def test_mixture_moments(fixed):
    members = [dense(fixed.observations, *values) for values in MEMBER_VALUES]
    average = np.mean([m for m, _ in members], axis=0)
    second = np.mean([c + np.outer(m, m) for m, c in members], axis=0)
    covariance = fixed.covariance(GRID)
    np.testing.assert_allclose(covariance, second - np.outer(average, average), atol=1e-8)
    np.testing.assert_allclose(fixed.covariance(GRID[:4], GRID), covariance[:4], atol=1e-10)
    np.testing.assert_allclose(fixed.variance(GRID), covariance.diagonal(), atol=1e-8)


def test_draws_have_the_moments_of_the_posterior(fixed):
    draws = fixed.draws(GRID, 60_000, generator=torch.Generator().manual_seed(0))
    assert draws.shape == (60_000, len(GRID))
    covariance = fixed.covariance(GRID)
    error = covariance.diagonal().sqrt() / math.sqrt(len(draws))
    assert ((draws.mean(0) - fixed.mean(GRID)).abs() < 4.5 * error).all()
    np.testing.assert_allclose(draws.T.cov(), covariance, atol=0.03 * covariance.max().item())
    again = fixed.draws(GRID, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again, fixed.draws(GRID, 7, generator=torch.Generator().manual_seed(0)))


def test_more_lams_on_the_same_images_do_not_make_the_answer_certain():
    """What the images prefer by chance stays, however many λs are tried on them."""
    few, many = (paired(lams=tuple(np.linspace(0, 1, n))) for n in (6, 24))
    ends = tensor(0.0, 1.0)
    contrast = tensor(-1.0, 1.0)
    spread = [(contrast @ fit_surrogate(o).covariance(ends) @ contrast).item() for o in (few, many)]
    assert spread[1] > 0.7 * spread[0]


@pytest.mark.slow
def test_the_model_needs_no_botorch():
    """Its import takes long, and a search does without."""
    code = """
import sys, lamsearch.surrogate.fitting
print({"botorch", "gpytorch", "linear_operator"} & set(sys.modules))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
