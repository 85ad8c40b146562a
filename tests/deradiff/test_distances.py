"""Fréchet distance and MMD² against closed forms, scipy, brute force and their invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import ortho_group

from deradiff.distances import (
    Array,
    frechet_distance,
    frechet_distance_of_gaussians,
    maximum_mean_discrepancy,
)


def features(seed: int, n: int = 60, d: int = 5) -> Array:
    draws = np.random.default_rng(seed)
    return draws.normal(size=(n, d)) @ draws.normal(size=(d, d)) + draws.normal(size=d)


@given(st.floats(-3, 3), st.floats(0.01, 4), st.floats(-3, 3), st.floats(0.01, 4))
def test_frechet_distance_of_one_dimensional_gaussians(
    m1: float, s1: float, m2: float, s2: float
) -> None:
    distance = frechet_distance_of_gaussians([m1], [[s1**2]], mean_2=[m2], covariance_2=[[s2**2]])
    assert distance == pytest.approx((m1 - m2) ** 2 + (s1 - s2) ** 2, abs=1e-12)


def test_frechet_distance_of_commuting_covariances() -> None:
    """With common axes it is the sum of the one-dimensional distances along them."""
    axes = ortho_group.rvs(4, random_state=0)
    first, second = np.array([1.0, 2.0, 0.5, 0.0]), np.array([2.0, 1.0, 0.5, 3.0])
    distance = frechet_distance_of_gaussians(
        np.zeros(4),
        axes @ np.diag(first**2) @ axes.T,
        mean_2=np.ones(4),
        covariance_2=axes @ np.diag(second**2) @ axes.T,
    )
    assert distance == pytest.approx(4 + ((first - second) ** 2).sum())


@pytest.mark.parametrize("seed", range(5))
def test_frechet_distance_against_scipy_s_matrix_square_root(seed: int) -> None:
    x, y = features(2 * seed), features(2 * seed + 1)
    s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = np.real(sqrtm(s1 @ s2))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s1 + s2 - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, maximum_mean_discrepancy])
def test_invariances(distance: object) -> None:
    assert callable(distance)
    x, y = features(0), features(1, n=40)
    plain = distance(x, y)
    rotation, shift = ortho_group.rvs(5, random_state=1), np.arange(5.0)
    draws = np.random.default_rng(2)
    assert distance(y, x) == pytest.approx(plain)
    assert distance(x @ rotation + shift, y @ rotation + shift) == pytest.approx(plain)
    assert distance(draws.permutation(x), draws.permutation(y)) == pytest.approx(plain)
    assert plain > 0


def test_equal_sets_have_distance_zero() -> None:
    for n, d in ((60, 5), (4, 20), (3, 1)):  # with N ≤ D the covariance is singular
        x = features(3, n, d)
        assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-10 * x.var() * d)
        assert frechet_distance(x, x) >= 0


def test_a_shift_costs_its_square_also_with_singular_covariances() -> None:
    x = features(4, 6, 30)
    shift = np.linspace(0, 1, 30)
    assert frechet_distance(x, x + shift) == pytest.approx((shift**2).sum(), rel=1e-9)


def test_frechet_distance_is_biased_upwards_in_proportion_to_1_over_n() -> None:
    def mean_distance(n: int) -> float:
        draws = np.random.default_rng(n)
        sets = [(draws.normal(size=(n, 8)), draws.normal(size=(n, 8))) for _ in range(40)]
        return float(np.mean([frechet_distance(x, y) for x, y in sets]))

    few, many = mean_distance(100), mean_distance(400)
    assert few > many > 0
    assert few / many == pytest.approx(4, rel=0.1)


def kernel(x: Array, y: Array, bandwidth: float) -> float:
    return float(np.exp(-((x - y) ** 2).sum() / (2 * bandwidth**2)))


@pytest.mark.parametrize(("bandwidth", "scale"), [(10.0, 1000.0), (0.7, 1.0)])
def test_mmd_equals_the_double_sums(bandwidth: float, scale: float) -> None:
    x, y = features(5, 13), features(6, 9)
    within = [
        np.mean([kernel(a[i], a[j], bandwidth) for i in range(n) for j in range(n) if i != j])
        for a, n in ((x, 13), (y, 9))
    ]
    across = np.mean([kernel(a, b, bandwidth) for a in x for b in y])
    mine = maximum_mean_discrepancy(x, y, bandwidth=bandwidth, scale=scale)
    assert mine == pytest.approx(scale * (sum(within) - 2 * across), abs=1e-9)


def test_large_sets_are_summed_in_blocks() -> None:
    x, y = features(7, 1500, 3), features(8, 1100, 3)
    squared = ((x[:, None] - y[None]) ** 2).sum(-1)
    across = np.exp(-squared / 200).mean()
    own = [np.exp(-((a[:, None] - a[None]) ** 2).sum(-1) / 200).sum() - len(a) for a in (x, y)]
    within = own[0] / (1500 * 1499) + own[1] / (1100 * 1099)
    assert maximum_mean_discrepancy(x, y) == pytest.approx(1000 * (within - 2 * across), rel=1e-9)


def test_mmd_has_mean_zero_where_distributions_agree() -> None:
    draws = np.random.default_rng(0)
    estimates = np.array(
        [
            maximum_mean_discrepancy(draws.normal(size=(20, 3)), draws.normal(size=(15, 3)))
            for _ in range(2000)
        ]
    )
    assert abs(estimates.mean()) < 3.5 * estimates.std() / np.sqrt(2000)
    assert (estimates < 0).any()


def test_mmd_has_its_closed_form_as_expectation() -> None:
    """N(0, I), N(m, I) on a plane, s = σ²: MMD² = 2 s/(s + 2) · (1 − exp(−m²/(2 (s + 2))))."""
    draws = np.random.default_rng(1)
    shift, variance = np.array([1.0, 0.0]), 1.5**2
    estimates = [
        maximum_mean_discrepancy(
            draws.normal(size=(30, 2)), draws.normal(size=(30, 2)) + shift, bandwidth=1.5, scale=1
        )
        for _ in range(1000)
    ]
    expected = 2 * variance / (variance + 2) * (1 - np.exp(-1 / (2 * (variance + 2))))
    error = np.std(estimates) / np.sqrt(1000)
    assert np.mean(estimates) == pytest.approx(expected, abs=3.5 * error)


def test_mmd_sees_what_moments_do_not() -> None:
    """Equal means and covariances, other distributions: the Fréchet distance is blind to them."""
    draws = np.random.default_rng(2)
    gaussian = draws.normal(size=(3000, 1))
    two_points = draws.choice([-1.0, 1.0], size=(3000, 1))
    assert frechet_distance(gaussian, two_points) < 5e-3
    assert maximum_mean_discrepancy(gaussian, two_points, bandwidth=0.5, scale=1) > 0.1


def test_the_released_cmmd_is_larger_by_the_stated_amount() -> None:
    x, y = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (features(9), features(10, 40)))
    kernels = [np.exp(-((a[:, None] - a[None]) ** 2).sum(-1) / 200) for a in (x, y)]
    across = np.exp(-((x[:, None] - y[None]) ** 2).sum(-1) / 200).mean()
    released = 1000 * (kernels[0].mean() + kernels[1].mean() - 2 * across)
    off = [(k.sum() - len(k)) / (len(k) * (len(k) - 1)) for k in kernels]
    stated = 1000 * ((1 - off[0]) / 60 + (1 - off[1]) / 40)
    assert released - maximum_mean_discrepancy(x, y) == pytest.approx(stated, rel=1e-9)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (np.zeros(3), np.zeros((3, 1)), r"shape \(3,\): expected \(N, D\)"),
        (np.zeros((1, 2)), np.zeros((3, 2)), "N >= 2"),
        (np.zeros((0, 2)), np.zeros((3, 2)), "N >= 2"),
        (np.zeros((3, 2)), np.full((3, 2), np.nan), "not finite"),
        (np.zeros((3, 2)), np.zeros((3, 4)), "2 and 4 dimensions"),
    ],
)
def test_unusable_features_are_refused(first: Array, second: Array, message: str) -> None:
    for distance in (frechet_distance, maximum_mean_discrepancy):
        with pytest.raises(ValueError, match=message) as raised:
            distance(first, second)
        assert "\n" not in str(raised.value)


def test_unusable_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="bandwidth = 0"):
        maximum_mean_discrepancy(features(0), features(1), bandwidth=0)
    with pytest.raises(ValueError, match=r"expected \(D,\) and \(D, D\)"):
        frechet_distance_of_gaussians([0, 0], np.eye(2), mean_2=[0, 0], covariance_2=np.eye(3))
    with pytest.raises(ValueError, match=r"expected \(D,\) and \(D, D\)"):
        frechet_distance_of_gaussians([0, 0], np.eye(3), mean_2=[0, 0], covariance_2=np.eye(3))
