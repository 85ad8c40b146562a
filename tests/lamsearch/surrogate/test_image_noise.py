"""The model of one image's deviations."""

import numpy as np
import pytest
import scipy.stats
import torch

from lamsearch.surrogate.image_noise import (
    ImageNoise,
    correlations,
    parameter_grid,
    student_inflation,
)

LAMS = torch.tensor([0.0, 0.3, 0.55, 1.0], dtype=torch.float64)


def noise(nugget):
    centre = torch.eye(4, dtype=torch.float64) - 1 / 4
    return ImageNoise(LAMS, centre, variance=2.0, lengthscale=0.4, nugget=nugget)


def test_correlations_are_one_on_the_diagonal_and_lose_the_nugget_beside_it():
    lengthscales, nuggets = parameter_grid(1.0)
    found = correlations(LAMS, lengthscales, nuggets)
    np.testing.assert_allclose(found.diagonal(dim1=1, dim2=2), 1, rtol=1e-12)
    smooth = torch.exp(-(0.3**2) / (2 * lengthscales**2))
    np.testing.assert_allclose(found[:, 0, 1], (1 - nuggets) * smooth)


def test_the_grid_of_parameters_has_no_two_equal_nodes():
    found = correlations(LAMS, *parameter_grid(1.0))
    assert len(torch.unique(found, dim=0)) == len(found) == 37


def test_regression_equals_the_dense_formula():
    """Best linear prediction of d(λ) − d̄ from d − d̄, by the pseudo-inverse of the covariance."""
    model, others = noise(0.1), torch.tensor([0.2, 0.8, 1.4], dtype=torch.float64)
    every = torch.cat([LAMS, others])
    full = 2.0 * correlations(every, torch.tensor([0.4]), torch.tensor([0.1]))[0].double()
    relative = torch.eye(7, dtype=torch.float64)
    relative[:, :4] -= 1 / 4
    full = relative @ full @ relative.T
    expected = torch.linalg.pinv(full[:4, :4], rtol=1e-10) @ full[:4, 4:]
    coefficients, remaining = model.regression(others)
    centre = torch.eye(4, dtype=torch.float64) - 1 / 4
    np.testing.assert_allclose(centre @ coefficients, expected, atol=1e-6)
    left = full[4:, 4:] - full[4:, :4] @ expected
    np.testing.assert_allclose(remaining, left.diagonal(), rtol=1e-6)


def test_at_an_evaluated_lam_only_the_nugget_is_new():
    """Once in the evaluation that there was, and once in the new one."""
    _, remaining = noise(1e-6).regression(LAMS[1:2])
    assert remaining.item() == pytest.approx(2.0 * 2e-6, rel=1e-2)
    _, independent = noise(1.0).regression(LAMS[1:2])
    assert independent.item() == pytest.approx(2.0 * (1 + 1 / 4))


@pytest.mark.parametrize(("images", "inflation"), [(2, 42), (8, 1.46), (64, 1.04)])
def test_inflation_makes_normal_intervals_those_of_student(images, inflation):
    t, z = scipy.stats.t.ppf(0.975, images - 1), scipy.stats.norm.ppf(0.975)
    assert student_inflation(images) == pytest.approx((t / z) ** 2, rel=1e-9)
    assert student_inflation(images) == pytest.approx(inflation, rel=5e-3)
