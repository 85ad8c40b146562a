"""The restricted likelihood is that of error contrasts (Patterson & Thompson 1971)."""

import numpy as np
import pytest
import scipy.linalg
import torch

from lamsearch.surrogate.gls import missing_patterns, normal_equations
from lamsearch.surrogate.image_noise import correlations, parameter_grid
from lamsearch.surrogate.restricted_likelihood import _restricted_likelihood, fit_noise
from surrogate_data import images_of_curves, rotating, with_holes

LAMS = np.array([0.0, 0.2, 0.45, 0.7, 1.0])


def tables():
    rng = np.random.default_rng(4)
    table = images_of_curves(1, LAMS, 15, rng, own=0.2)[0]
    return {
        "same": table,
        "holes": with_holes(table, 0.2, rng, complete=1),
        "rotating": rotating(table, (0, 1)),
    }


def likelihood_of_contrasts(correlation, table):
    """Best log likelihood over s² of the scores' contrasts that no J and no image effect moves."""
    rows, columns = np.nonzero(~np.isnan(table))
    effects = np.eye(table.shape[1])[columns]
    contrasts = scipy.linalg.null_space(np.hstack([np.eye(len(table))[rows], effects]).T)
    covariance = correlation[np.ix_(rows, rows)] * (columns[:, None] == columns)
    within = contrasts.T @ covariance @ contrasts
    y = contrasts.T @ table[rows, columns]
    freedom = len(y)
    variance = y @ np.linalg.solve(within, y) / freedom
    return -(freedom * np.log(variance) + np.linalg.slogdet(within)[1]) / 2, variance, freedom


@pytest.mark.parametrize("plan", ["same", "holes", "rotating"])
def test_it_is_the_likelihood_of_error_contrasts(plan):
    table = tables()[plan]
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    correlation = correlations(torch.from_numpy(LAMS), *parameter_grid(1.0))
    dense = [likelihood_of_contrasts(own.numpy(), table) for own in correlation]
    scores = torch.from_numpy(table)
    equations = normal_equations(correlation, scores, missing_patterns(scores))
    found, _ = _restricted_likelihood(equations, dense[0][2], 0.0)
    expected = np.array([value for value, _, _ in dense])
    np.testing.assert_allclose(found - found[0], expected - expected[0], atol=1e-6)


@pytest.mark.parametrize("plan", ["same", "holes", "rotating"])
def test_the_fit_is_its_maximum(plan):
    table = tables()[plan]
    fit = fit_noise(torch.from_numpy(LAMS), torch.from_numpy(table))
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    every = [
        likelihood_of_contrasts(own.numpy(), table)
        for own in correlations(torch.from_numpy(LAMS), *parameter_grid(1.0))
    ]
    best, variance, _ = likelihood_of_contrasts(fit.correlation.numpy(), table)
    assert best == pytest.approx(max(value for value, _, _ in every), abs=1e-5)
    assert fit.variance == pytest.approx(variance, rel=1e-9)


def test_it_finds_the_parameters_of_many_images():
    rng = np.random.default_rng(0)
    lams = torch.linspace(0, 1, 8, dtype=torch.float64)
    truth = correlations(lams, torch.tensor([0.3]), torch.tensor([0.1]))[0].double()
    deviations = np.linalg.cholesky(4.0 * truth.numpy()) @ rng.normal(size=(8, 800))
    fit = fit_noise(lams, torch.from_numpy(deviations + 50 * rng.normal(size=800)))
    assert (fit.lengthscale, fit.nugget) == pytest.approx((0.3, 0.1))
    assert fit.variance == pytest.approx(4.0, rel=0.05)


def test_with_two_evaluations_ties_go_to_independent_deviations():
    table = torch.from_numpy(images_of_curves(1, [0.2, 0.6], 9, np.random.default_rng(1))[0])
    fit = fit_noise(torch.tensor([0.2, 0.6], dtype=torch.float64), table)
    assert fit.nugget == 1


@pytest.mark.parametrize("table", [[[1.0], [2.0]], [[1.0, 2.0, np.nan], [np.nan, 3.0, 4.0]]])
def test_without_degrees_of_freedom_there_is_no_fit(table):
    lams = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert fit_noise(lams, torch.tensor(table, dtype=torch.float64)) is None
