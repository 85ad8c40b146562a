"""The search benchmark's curves and noise are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from examples.benchmarks import curves, problems
from lamsearch.surrogate.prior import CORRELATIONS

SHAPES = ["bump", "collapse", "saturating", "gp", "flat", "two_peaks", "kink"]
FAMILIES = [*SHAPES, "at_0", "at_1", "table2", "miniature", "prior_rbf", "prior_matern"]


@pytest.mark.parametrize("kernel", ["rbf", "matern"])
def test_draws_have_the_librarys_kernel(kernel: str) -> None:
    assert curves.KERNELS.keys() == CORRELATIONS.keys()
    lams = np.linspace(0, 1, 150)
    basis = curves.gp_basis(0.08, kernel)(lams)
    distance = torch.from_numpy(np.abs(lams[:, None] - lams))
    expected = CORRELATIONS[kernel](distance / 0.08).numpy()
    np.testing.assert_allclose(basis @ basis.T, expected, atol=5e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_curve_has_range_one(family: str) -> None:
    assert list(curves.FAMILIES) == FAMILIES
    for seed in range(5):
        problem = problems.Problem(family, "independent", 0.1, seed)
        values = problem.curve(curves.LINE)
        assert values.min() == pytest.approx(0)
        assert values.max() == pytest.approx(1)
        assert problem.regret(problem.best_lam) == pytest.approx(0)
        if family in ("at_0", "at_1"):
            assert problem.best_lam == float(family[-1])


@pytest.mark.parametrize("family", ["gp", "miniature"])
def test_an_image_scores_the_same_whatever_is_asked_with_it(family: str) -> None:
    problem = problems.Problem(family, "images", 0.1, 3)
    together = problem.scores(0.3, 0, range(200))
    ids = [150, 7, 70, 7]
    np.testing.assert_array_equal(problem.scores(0.3, 5, ids), together[ids])
    again = problems.Problem(family, "images", 0.1, 3)
    np.testing.assert_array_equal(again.scores(0.3, 1, range(200)), together)


def test_independent_noise_depends_on_the_evaluation_alone() -> None:
    problem = problems.Problem("at_0", "independent", 0.1, 0)
    first, other = (problem.scores(lam, 2) - problem.curve(np.array(lam)) for lam in (0.1, 0.9))
    np.testing.assert_allclose(first, other)
    assert not np.allclose(first, problem.scores(0.1, 3) - problem.curve(np.array(0.1)))


@pytest.mark.parametrize("noise", ["independent", "images"])
@pytest.mark.parametrize("family", ["kink", "miniature"])
def test_noise_has_the_standard_error_asked_for(family: str, noise: str) -> None:
    means = []
    for seed in range(400):
        problem = problems.Problem(family, noise, 0.3, seed)
        means.append(problem.scores(0.4, 0).mean() - problem.curve(np.array(0.4)))
    # The spread of 400 draws is within 10 % of the truth; real images differ in spread over λ.
    assert np.std(means) == pytest.approx(0.3, rel=0.15)
    assert np.mean(means) == pytest.approx(0, abs=0.05)
