"""Sums over all images at once equal what each image gives alone, whatever is missing."""

from itertools import product

import numpy as np
import pytest
import torch

from lamsearch.surrogate.gls import (
    missing_patterns,
    normal_equations,
    pseudo_inverse,
    sum_images,
    within_precision,
)
from lamsearch.surrogate.image_noise import correlations, parameter_grid
from surrogate_data import images_of_curves, with_holes


def equations_of_single_images(correlation, table):
    """Q, Σ P y, Σ yᵀP y and the log determinants, image by image and in full."""
    n = len(table)
    precision, right_side, squares, log_determinant = np.zeros((n, n)), np.zeros(n), 0.0, 0.0
    for scores in table.T:
        rows = np.flatnonzero(~np.isnan(scores))
        own = correlation[np.ix_(rows, rows)]
        inverse, y = np.linalg.inv(own), scores[rows]
        within = inverse - np.outer(inverse.sum(0), inverse.sum(0)) / inverse.sum()
        precision[np.ix_(rows, rows)] += within
        right_side[rows] += within @ y
        squares += y @ within @ y
        log_determinant += np.linalg.slogdet(own)[1] + np.log(inverse.sum())
    return [precision, right_side, squares, log_determinant]


def case(n, missing):
    """Correlations (N, n, n) and scores (n, 40)."""
    rng = np.random.default_rng(n)
    table = images_of_curves(1, np.linspace(0, 1, n), 40, rng)[0]
    table = with_holes(table, missing, rng, complete=2)
    line = torch.linspace(0, 1, n, dtype=torch.float64)
    return correlations(line, *parameter_grid(1.0)), table


@pytest.mark.parametrize("cells", [1, 2**17])
@pytest.mark.parametrize(("n", "missing"), [(9, 0.0), (9, 0.1), (9, 0.6), (30, 0.05)])
def test_images_together_give_what_each_gives_alone(monkeypatch, n, missing, cells):
    monkeypatch.setattr("lamsearch.surrogate.gls._CELLS", cells)
    correlation, table = case(n, missing)
    scores = torch.from_numpy(table)
    patterns = missing_patterns(scores)
    ways = (
        sum_images(correlation, scores, patterns).equations,
        normal_equations(correlation, scores, patterns),
    )
    for node, own in enumerate(correlation):
        expected = equations_of_single_images(own.numpy(), table)
        for equations, (part, found) in product(ways, enumerate(expected)):
            atol = 1e-9 * np.abs(found).max()
            np.testing.assert_allclose(equations[part][node], found, rtol=1e-9, atol=atol)


@pytest.mark.parametrize("cells", [1, 2**17])
def test_patterns_hold_every_image_once_at_its_own_missing_scores(monkeypatch, cells):
    monkeypatch.setattr("lamsearch.surrogate.gls._CELLS", cells)
    table = torch.from_numpy(case(9, 0.4)[1])
    seen = []
    for missing, present, images in missing_patterns(table):
        for absent, there, columns in zip(missing, present, images, strict=True):
            assert table[absent][:, columns].isnan().all()
            assert not table[there][:, columns].isnan().any()
            seen += columns.tolist()
    assert sorted(seen) == list(range(40))


def test_within_precision_is_the_inverse_of_the_centred_correlation():
    correlation, _ = case(6, 0.0)
    centre = torch.eye(6, dtype=torch.float64) - 1 / 6
    expected = torch.linalg.pinv(centre @ correlation @ centre)
    np.testing.assert_allclose(within_precision(correlation)[0], expected, rtol=1e-6, atol=1e-6)


def test_pseudo_inverse_leaves_the_constant_out():
    precision = within_precision(case(6, 0.0)[0])[0]
    inverse, log_determinant = pseudo_inverse(precision)
    np.testing.assert_allclose(
        inverse @ precision, np.eye(6) - np.full((37, 6, 6), 1 / 6), atol=1e-9
    )
    eigenvalues = torch.linalg.eigvalsh(precision)[:, 1:]
    np.testing.assert_allclose(log_determinant, eigenvalues.log().sum(dim=1), atol=1e-9)
