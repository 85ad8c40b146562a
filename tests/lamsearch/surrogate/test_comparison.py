"""The covariance of one image's deviations, and that of the contrasts."""

import numpy as np
import pytest
import torch

from lamsearch.surrogate.comparison import (
    PRIOR_IMAGES,
    compare,
    comparison_covariance,
    posterior_scatter,
)
from lamsearch.surrogate.gls import missing_patterns, sum_images
from lamsearch.surrogate.image_noise import correlations, parameter_grid
from surrogate_data import images_of_curves, with_holes


def scatter_of_single_images(correlation, table, variance):
    """`posterior_scatter`, image by image: each image's expectation and what stays open of it."""
    n = len(table)
    outer = PRIOR_IMAGES * variance * correlation
    for scores in table.T:
        rows = np.flatnonzero(~np.isnan(scores))
        inverse, y = np.linalg.inv(correlation[np.ix_(rows, rows)]), scores[rows]
        within = inverse - np.outer(inverse.sum(0), inverse.sum(0)) / inverse.sum()
        gain = correlation[:, rows] @ within
        outer += np.outer(gain @ y, gain @ y) + variance * (correlation - gain @ correlation[rows])
    centre = np.eye(n) - 1 / n
    return centre @ outer @ centre / (PRIOR_IMAGES - 1 + table.shape[1])


@pytest.mark.parametrize(("n", "missing"), [(9, 0.0), (9, 0.1), (9, 0.6), (30, 0.05)])
def test_the_scatter_is_that_of_single_images(n, missing):
    rng = np.random.default_rng(n)
    table = images_of_curves(1, np.linspace(0, 1, n), 40, rng)[0]
    table = with_holes(table, missing, rng, complete=2)
    scores, variance = torch.from_numpy(table), 0.7
    line = torch.linspace(0, 1, n, dtype=torch.float64)
    for own in correlations(line, *parameter_grid(1.0)):
        expected = scatter_of_single_images(own.numpy(), table, variance)
        sums = sum_images(own[None], scores, missing_patterns(scores))
        found = posterior_scatter(variance, own, sums, 40)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * expected.max())


def test_with_all_images_everywhere_the_covariance_is_the_scatter_of_a_mean():
    table = images_of_curves(1, np.linspace(0, 1, 5), 40, np.random.default_rng(2))[0]
    lams = torch.linspace(0, 1, 5, dtype=torch.float64)
    comparison = compare(lams, torch.from_numpy(table))
    size = comparison.covariance.max().item()
    expected = comparison.image_noise.scatter / 40
    np.testing.assert_allclose(comparison.covariance, expected, atol=1e-6 * size)
    again = comparison_covariance(comparison.image_noise.scatter, [40] * 5)
    np.testing.assert_allclose(comparison.covariance, again, atol=1e-9 * size)
    np.testing.assert_allclose(comparison.covariance.sum(dim=0), np.zeros(5), atol=1e-9 * size)


def test_with_one_image_in_common_nothing_can_be_compared():
    lams = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert compare(lams, torch.tensor([[1.0, 2.0], [3.0, torch.nan]], dtype=torch.float64)) is None
