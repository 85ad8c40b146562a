"""The adapter is a BoTorch model: posteriors, acquisition functions and fantasies."""

import math

import numpy as np
import pytest
import torch
from botorch.acquisition import (
    LogExpectedImprovement,
    qLogNoisyExpectedImprovement,
    qUpperConfidenceBound,
)
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler

from lamsearch.surrogate.botorch_adapter import BotorchSurrogate
from lamsearch.surrogate.fitting import condition_surrogate, fit_surrogate
from lamsearch.surrogate.hyperparameters import MEMBERS, Hyperparameters
from surrogate_data import GRID, independent, tensor


@pytest.fixture
def fixed():
    observed = independent(variances=(0.01, math.nan, 0.01, math.nan, 0.02))
    values = Hyperparameters(tensor(0.2, 0.5, 1.2), tensor(1.0, 3.0, 0.3), tensor(0.01, 0.1, 0.001))
    return condition_surrogate(observed, values, kernel="rbf")


def test_its_posterior_is_that_of_the_surrogate(fixed):
    posterior = BotorchSurrogate(fixed).posterior(GRID[:, None])
    means, covariances = fixed.joint(GRID)
    np.testing.assert_allclose(posterior.mean.squeeze(-1), means, atol=1e-8)
    np.testing.assert_allclose(posterior.distribution.covariance_matrix, covariances, atol=1e-8)
    np.testing.assert_allclose(posterior.mixture_mean.squeeze(-1), fixed.mean(GRID), atol=1e-8)
    mixture = posterior.mixture_variance.squeeze(-1)
    np.testing.assert_allclose(mixture, fixed.variance(GRID), atol=1e-8)


@pytest.mark.parametrize("name", ["logei", "qlognei", "qucb"])
def test_acquisition_functions_run_on_it(name):
    surrogate = fit_surrogate(independent())
    model, sampler = BotorchSurrogate(surrogate), SobolQMCNormalSampler(torch.Size([64]), seed=0)
    train_X = surrogate.observations.lams[:, None]
    acquisition = {
        "logei": lambda: LogExpectedImprovement(model, best_f=0.9),
        "qlognei": lambda: qLogNoisyExpectedImprovement(model, train_X, sampler=sampler),
        "qucb": lambda: qUpperConfidenceBound(model, beta=2.0, sampler=sampler),
    }[name]()
    values = acquisition(GRID[:, None, None])
    assert values.shape == GRID.shape
    candidate, value = optimize_acqf(
        acquisition, bounds=tensor([0.0], [1.0]), q=1, num_restarts=2, raw_samples=16
    )
    assert 0.3 < candidate.item() < 0.9
    assert value >= values.max() - 0.02 * values.max().abs()


def test_fantasies_average_to_the_posterior_mean():
    """What BoTorch's look-ahead acquisitions build on, for several candidates at once."""
    surrogate = fit_surrogate(independent())
    X = tensor(0.5, 0.9)[:, None, None]
    sampler = SobolQMCNormalSampler(torch.Size([64]), seed=0)
    mean = BotorchSurrogate(surrogate).fantasize(X, sampler).posterior(GRID[:, None]).mean
    assert mean.shape == (64, 2, MEMBERS, len(GRID), 1)
    expected = surrogate.mean(GRID)
    for candidate in mean.mean(dim=(0, 2)).squeeze(-1):
        np.testing.assert_allclose(candidate, expected, atol=0.02)
