"""The two-way layout: what pairing may and may not change."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamsearch.observations import POOLING, Observations, observe


@st.composite
def tables(draw, missing=True):
    """Scores (n, m) of n ≥ 2 λs, perhaps with holes, at least two images complete."""
    n, m = draw(st.integers(2, 5)), draw(st.integers(3, 8))
    table = draw(arrays(np.float64, (n, m), elements=st.floats(-5, 5, width=16)))
    if missing:
        holes = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(2, m - 1)), max_size=4))
        for hole in holes:
            table[hole] = np.nan
    return table


def lams(n):
    return [j / n for j in range(n)]


def differences(observations):
    return (observations.values - observations.values[0]).numpy()


@given(table=tables(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_image_effect_changes_no_comparison(table, data):
    m = table.shape[1]
    effect = data.draw(arrays(np.float64, m, elements=st.floats(-5, 5, width=16)))
    plain, shifted = (observe(lams(len(t)), list(t)) for t in (table, table + effect))
    np.testing.assert_allclose(differences(shifted), differences(plain), atol=1e-10)
    np.testing.assert_allclose(shifted.variances, plain.variances, rtol=1e-8, atol=1e-10)


@given(table=tables(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_order_of_images_is_irrelevant(table, seed):
    permuted = table[:, np.random.default_rng(seed).permutation(table.shape[1])]
    a, b = observe(lams(len(table)), list(table)), observe(lams(len(table)), list(permuted))
    np.testing.assert_allclose(b.values, a.values, atol=1e-12)
    np.testing.assert_allclose(b.variances, a.variances, atol=1e-12)
    assert b.offset_variance == pytest.approx(a.offset_variance, abs=1e-12)


@given(table=tables(missing=False))
@settings(max_examples=40, deadline=None)
def test_mean_variance_is_the_textbook_residual_mean_square(table):
    n, m = table.shape
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    mean_square = (residual**2).sum() / ((n - 1) * (m - 1))
    observations = observe(lams(n), list(table))
    np.testing.assert_allclose(observations.variances.mean(), mean_square / m, atol=1e-12)
    images = n * table.mean(0).var(ddof=1)
    component = max(0.0, (images - mean_square) / n)
    assert observations.offset_variance == pytest.approx(component / m, abs=1e-12)


@given(table=tables(missing=False))
@settings(max_examples=40, deadline=None)
def test_two_lams_reduce_to_the_paired_t_test(table):
    a, b = table[:2]
    observations = observe([0.0, 1.0], [a, b])
    paired = (b - a).var(ddof=1) / len(a)
    assert observations.variances.sum().item() == pytest.approx(paired, abs=1e-12)


def test_missing_image_is_left_out_at_every_lam():
    table = np.random.default_rng(0).normal(size=(3, 6))
    holed = table.copy()
    holed[1, 4] = np.nan
    with_hole = observe(lams(3), list(holed))
    without_image = observe(lams(3), list(np.delete(table, 4, axis=1)))
    assert torch.equal(with_hole.values, without_image.values)
    assert torch.equal(with_hole.variances, without_image.variances)


def test_variances_are_calibrated():
    """Differences between λs, and J itself, scatter as the variances say."""
    rng = np.random.default_rng(1)
    studies, n, m = 2000, 3, 16
    noise = np.array([0.2, 0.2, 0.5])[:, None]
    values, variances, offsets = np.empty((studies, n)), np.empty((studies, n)), np.empty(studies)
    for s in range(studies):
        table = rng.normal(size=m) + noise * rng.normal(size=(n, m))
        observations = observe(lams(n), list(table))
        values[s], variances[s] = observations.values, observations.variances
        offsets[s] = observations.offset_variance
    # Expected shares: own variance with weight (n−2)/(n−1), then pooling; see `_two_way`.
    squares = (noise**2).ravel()
    pooled = squares.mean()
    own = ((n - 2) * squares + pooled) / (n - 1)
    expected = (POOLING * pooled + (m - 1) * own) / (POOLING + m - 1) / m
    np.testing.assert_allclose(variances.mean(0), expected, rtol=0.03)
    assert offsets.mean() == pytest.approx(1 / m, rel=0.05)
    # All contrasts together are exactly unbiased; each J's variance is the sum of both parts.
    contrasts = np.var(values - values.mean(1, keepdims=True), axis=0, ddof=1).sum()
    assert contrasts == pytest.approx(variances.mean(0).sum() * (n - 1) / n, rel=0.1)
    total = variances.mean() + offsets.mean()
    assert values.var(axis=0, ddof=1).mean() == pytest.approx(total, rel=0.1)


def test_one_evaluation_has_only_an_offset():
    scores = [1.0, 2.0, 4.0, math.nan]
    observations = observe([0.3], [scores])
    assert observations.values.item() == pytest.approx(7 / 3)
    assert observations.variances.item() == 0
    assert observations.offset_variance == pytest.approx(np.var([1, 2, 4], ddof=1) / 3)


def test_plain_numbers_have_unknown_variance():
    observations = observe([0.0, 0.5], [0.25, 0.5])
    assert observations.values.tolist() == [0.25, 0.5]
    assert observations.variances.isnan().all()
    assert observations.offset_variance == 0
    assert observe([0.0, 0.5], [[0.25], [0.5]]).variances.isnan().all()


def test_arrays_of_unequal_lengths_carry_their_whole_variance():
    rng = np.random.default_rng(2)
    short, long = rng.normal(size=10), rng.normal(size=40)
    observations = observe([0.0, 1.0], [short, long])
    expected = [short.var(ddof=1) / 10, long.var(ddof=1) / 40]
    np.testing.assert_allclose(observations.variances, expected)
    assert observations.offset_variance == 0


def test_a_number_among_arrays():
    rng = np.random.default_rng(3)
    table = rng.normal(size=20) + 0.1 * rng.normal(size=(2, 20))
    alone, mixed = observe([0, 1], list(table)), observe([0, 1, 0.5], [*table, 0.3])
    whole = alone.variances + alone.offset_variance
    np.testing.assert_allclose(mixed.variances[:2], whole)
    assert mixed.variances[2].isnan()


def test_without_two_complete_images_each_evaluation_stands_alone():
    a, b = [1.0, 2.0, math.nan, math.nan], [math.nan, 5.0, 7.0, 9.0]
    observations = observe([0.0, 1.0], [a, b])
    assert observations.values.tolist() == [1.5, 7.0]
    np.testing.assert_allclose(observations.variances, [0.25, 4 / 3])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[math.nan, math.nan]], "no score at λ=0.5"),
        ([math.nan], "no score at λ=0.5"),
        ([[1.0, math.inf]], "infinite"),
        ([[[1.0, 2.0]]], "shape"),
        ([1.0, 2.0], "1 λs but 2"),
    ],
)
def test_what_cannot_be_observed_is_refused(scores, message):
    with pytest.raises(ValueError, match=message):
        observe([0.5], scores)


def test_observations_check_themselves():
    one = torch.ones(1, dtype=torch.float64)
    with pytest.raises(ValueError, match="one shape"):
        Observations(one, one, torch.ones(2, dtype=torch.float64))
    with pytest.raises(TypeError, match="float64"):
        Observations(one, one, one.float())
    with pytest.raises(ValueError, match="finite"):
        Observations(one, one * torch.nan, one)
    with pytest.raises(ValueError, match="negative"):
        Observations(one, one, -one)
