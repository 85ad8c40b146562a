"""What one more evaluation would tell, on other images and on the same."""

import math

import numpy as np
import pytest
import torch

from lamsearch.surrogate.fitting import condition_surrogate, fit_surrogate
from lamsearch.surrogate.hyperparameters import Hyperparameters
from lamsearch.surrogate.observations import Observations
from lamsearch.surrogate.standardization import NOISE_FLOOR
from surrogate_data import GRID, independent, paired, tensor


@pytest.fixture
def fixed():
    observed = independent(variances=(0.01, math.nan, 0.01, math.nan, 0.02))
    values = Hyperparameters(tensor(0.2, 0.5, 1.2), tensor(1.0, 3.0, 0.3), tensor(0.01, 0.1, 0.001))
    return condition_surrogate(observed, values, kernel="rbf")


def test_believing_keeps_the_mean_and_shrinks_the_variance(fixed):
    believed = fixed.believe(tensor(0.15, 0.7))
    np.testing.assert_allclose(believed.mean(GRID), fixed.mean(GRID), atol=1e-8)
    assert (believed.variance(GRID) <= fixed.variance(GRID) + 1e-12).all()
    (_, before), (_, after) = (
        m.marginals(tensor(0.4)) for m in (fixed, fixed.believe(tensor(0.4)))
    )
    scale = fixed.observations.values.std() ** 2
    known = fixed.observations.variances.nan_to_num(0.0).sum() / 5
    noise = known + scale * (fixed.hyperparameters.noise * 2 / 5 + NOISE_FLOOR)
    np.testing.assert_allclose(after.squeeze(-1), 1 / (1 / before.squeeze(-1) + 1 / noise))


def test_the_next_value_on_other_images_is_covariance_and_noise():
    surrogate = fit_surrogate(independent())
    candidates = tensor(0.1, 0.6)
    covariance, variance = surrogate.predictive(candidates, GRID)
    np.testing.assert_allclose(covariance, surrogate.covariance(candidates, GRID), atol=1e-6)
    expected = surrogate.variance(candidates) + surrogate.observations.variances.mean()
    np.testing.assert_allclose(variance, expected, rtol=1e-5)


def test_the_next_value_on_the_same_images_is_less_of_a_surprise():
    same = paired()
    other = Observations.independent(same.lams, same.values, same.working_variances)
    near = tensor(0.4501)
    surprise = [fit_surrogate(o).predictive(near, GRID)[1].item() for o in (same, other)]
    assert surprise[0] < 0.3 * surprise[1]


def test_believing_an_evaluation_on_the_same_images_leaves_their_preference():
    surrogate = fit_surrogate(paired())
    everywhere = surrogate.believe(torch.linspace(0, 1, 9, dtype=torch.float64))
    np.testing.assert_allclose(everywhere.mean(GRID), surrogate.mean(GRID), atol=1e-8)
    contrast = tensor(-1.0, 1.0)
    before, after = (
        (contrast @ s.covariance(tensor(0.0, 1.0)) @ contrast).item()
        for s in (surrogate, everywhere)
    )
    assert 0.5 * before < after < 1.5 * before
