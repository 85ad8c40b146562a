"""Pairing: what the scores of the same images may and may not say."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamsearch.bayesopt.recommendation import recommend
from lamsearch.surrogate.fitting import fit_surrogate
from lamsearch.surrogate.pairing import observe
from surrogate_data import images_of_curves, rotating


@st.composite
def tables(draw, missing=True):
    """Scores (n, m) of n ≥ 2 λs with some noise of their own, perhaps with holes."""
    n, m = draw(st.integers(2, 5)), draw(st.integers(3, 8))
    table = draw(arrays(np.float64, (n, m), elements=st.floats(-5, 5, width=16)))
    table += np.random.default_rng(draw(st.integers(0, 99))).normal(size=(n, m))
    if missing:
        holes = draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(2, m - 1)), max_size=4))
        for hole in holes:
            table[hole] = np.nan
    return table


def lams(n):
    return [j / n for j in range(n)]


def centred(observations):
    return (observations.values - observations.values.mean()).numpy()


def variance_of_mean(scores):
    """With which a normal interval of the mean is Student's t."""
    scores = np.asarray(scores)
    error = scipy.stats.t.ppf(0.975, len(scores) - 1) * scipy.stats.sem(scores)
    return (error / scipy.stats.norm.ppf(0.975)) ** 2


@pytest.mark.slow
@given(table=tables(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_constant_added_to_an_image_changes_no_comparison(table, data):
    m = table.shape[1]
    effect = data.draw(arrays(np.float64, m, elements=st.floats(-50, 50, width=16)))
    plain, shifted = (observe(lams(len(t)), list(t)) for t in (table, table + effect))
    np.testing.assert_allclose(centred(shifted), centred(plain), atol=1e-8)
    np.testing.assert_allclose(shifted.covariance, plain.covariance, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(
        shifted.working_variances, plain.working_variances, rtol=1e-6, atol=1e-8
    )


def test_a_constant_added_to_an_image_changes_nothing_in_the_answer():
    rng = np.random.default_rng(5)
    at = np.linspace(0, 1, 7)
    table = images_of_curves(1, at, 12, rng)[0] - ((at - 0.4) ** 2)[:, None]
    table[3, 5] = table[6, 2] = np.nan
    shift = rng.normal(size=12) * 30
    plain, shifted = (
        recommend(fit_surrogate(observe(list(at), list(t)))) for t in (table, table + shift)
    )
    assert shifted.lam == pytest.approx(plain.lam, abs=1e-9)
    assert shifted.lam_interval == pytest.approx(plain.lam_interval, abs=1e-9)
    assert shifted.probability == pytest.approx(plain.probability, abs=1e-3)
    for a, b in (
        (shifted.gain_over_reference, plain.gain_over_reference),
        (shifted.gain_over_aligned, plain.gain_over_aligned),
    ):
        assert (a.value, a.stderr) == pytest.approx((b.value, b.stderr), rel=1e-6)


@given(table=tables(), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_order_of_images_and_of_evaluations_is_irrelevant(table, seed):
    rng = np.random.default_rng(seed)
    columns, rows = rng.permutation(table.shape[1]), rng.permutation(len(table))
    at = np.array(lams(len(table)))
    a = observe(list(at), list(table))
    b = observe(list(at[rows]), list(table[rows][:, columns]))
    np.testing.assert_allclose(b.values, a.values[rows], atol=1e-9)
    np.testing.assert_allclose(b.covariance, a.covariance[rows][:, rows], atol=1e-9)
    assert b.offset_variance == pytest.approx(a.offset_variance, rel=1e-6, abs=1e-9)


@given(table=tables(missing=False))
@settings(max_examples=40, deadline=None)
def test_where_all_images_are_there_the_values_are_plain_means(table):
    observations = observe(lams(len(table)), list(table))
    np.testing.assert_allclose(observations.values, table.mean(1), atol=1e-9)
    offset = variance_of_mean(table.mean(0))
    assert observations.offset_variance == pytest.approx(offset, rel=1e-6, abs=1e-12)


@given(table=tables(missing=False))
@settings(max_examples=40, deadline=None)
def test_two_lams_reduce_to_the_paired_t_test(table):
    """The normal interval of their difference is Student's t."""
    a, b = table[:2]
    observations = observe([0.0, 1.0], [a, b])
    contrast = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    variance = (contrast @ observations.covariance @ contrast).item()
    test = scipy.stats.ttest_rel(b, a).confidence_interval(0.95)
    half = (test.high - test.low) / 2
    assert scipy.stats.norm.ppf(0.975) * variance**0.5 == pytest.approx(half, rel=1e-6)
    assert observations.working_variances.tolist() == pytest.approx([variance / 2] * 2, rel=1e-6)


def test_many_images_speak_for_themselves():
    """With 4,000 images the covariance is the sample's, whatever its shape."""
    rng = np.random.default_rng(0)
    at = np.array([0.0, 0.2, 0.5, 0.9, 1.0])
    table = images_of_curves(1, at, 4000, rng)[0]
    table[4] += 2 * rng.normal(size=4000)  # far noisier at one λ
    observations = observe(list(at), list(table))
    centre, whole = np.eye(5) - 1 / 5, np.cov(table) / 4000
    sample = centre @ whole @ centre
    np.testing.assert_allclose(observations.covariance, sample, atol=0.02 * sample.max())
    offset = whole.mean(axis=1) - whole.mean()
    np.testing.assert_allclose(observations.offset_covariance, offset, atol=0.01 * whole.max())
    assert observations.offset_variance == pytest.approx(whole.mean(), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["same", "holes", "rotating"])
def test_levels_are_as_sure_as_their_images_say(plan):
    """Images whose scores spread three times as much at λ = 1 as at 0, around J = 0."""
    rng = np.random.default_rng(6)
    at, m, studies = np.linspace(0, 1, 7), 70, 200
    points, ratios = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), []
    for _ in range(studies):
        image = rng.normal(size=m)
        table = (1 + 2 * at[:, None]) * image + 0.1 * rng.normal(size=(7, m))
        if plan == "holes":
            table[rng.random(table.shape) < 0.2] = np.nan
        if plan == "rotating":
            table = rotating(table, (0, 1, 3))
        surrogate = fit_surrogate(observe(list(at), list(table)))
        ratios.append(surrogate.mean(points) / surrogate.level_variance(points).sqrt())
    held = (torch.stack(ratios).abs() < 1.96).double().mean(dim=0)
    assert held.min() > 0.88
    assert held.mean() > 0.93


@pytest.mark.slow
@pytest.mark.parametrize("images", [3, 8])
def test_levels_of_few_images_are_as_sure_as_the_t_test_says(images):
    rng = np.random.default_rng(7)
    at = torch.tensor([0.5], dtype=torch.float64)
    held = []
    for _ in range(200):
        effects = rng.normal(size=images)
        rows = effects + 0.1 * rng.normal(size=(4, images))
        surrogate = fit_surrogate(observe([0, 0.3, 0.7, 1], list(rows)))
        held.append(surrogate.mean(at).abs() < 1.96 * surrogate.level_variance(at).sqrt())
    assert 0.9 < torch.cat(held).double().mean() < 0.99


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["same", "holes", "rotating"])
def test_covariances_are_calibrated(plan):
    """Errors of all comparisons together scatter as the covariance says: χ² per degree is 1."""
    rng = np.random.default_rng(1)
    at, m, studies = [0.0, 0.3, 0.5, 0.8, 1.0], 60, 150
    chi, offsets = [], []
    for table in images_of_curves(studies, at, m, rng):
        shown = table.copy()
        if plan == "holes":
            shown[rng.random(shown.shape) < 0.1] = np.nan
        if plan == "rotating":
            shown = rotating(table, (0, 1, 2))
        observations = observe(at, list(shown))
        error = centred(observations)  # J is zero
        values, vectors = np.linalg.eigh(observations.covariance.numpy())
        chi.append((vectors.T @ error)[1:] ** 2 / values[1:])
        offsets.append(observations.values.mean().item() ** 2 / observations.offset_variance)
    np.testing.assert_allclose(np.mean(chi, axis=0), 1, atol=0.45)
    assert np.mean(chi) == pytest.approx(1, abs=0.2)
    assert np.mean(offsets) == pytest.approx(1, abs=0.4)


def test_more_images_in_a_rotating_plan_make_smaller_errors():
    rng = np.random.default_rng(3)
    at = list(np.linspace(0, 1, 7))
    errors = {"fixed": [], "rotating": []}
    for table in images_of_curves(60, at, 70, rng):
        errors["rotating"].append(centred(observe(at, list(rotating(table, (0, 1, 3))))))
        errors["fixed"].append(centred(observe(at, list(table[:, :30]))))
    mean_squares = {plan: np.mean(np.square(error)) for plan, error in errors.items()}
    assert mean_squares["rotating"] < 0.7 * mean_squares["fixed"]


def test_one_evaluation_has_only_an_offset():
    scores = [1.0, 2.0, 4.0, math.nan]
    observations = observe([0.3], [scores])
    assert observations.values.item() == pytest.approx(7 / 3)
    assert observations.variances.item() == 0
    assert observations.offset_variance == pytest.approx(variance_of_mean([1, 2, 4]))


def test_plain_numbers_have_unknown_variance():
    observations = observe([0.0, 0.5], [0.25, 0.5])
    assert observations.values.tolist() == [0.25, 0.5]
    assert observations.variances.isnan().all()
    assert observations.working_variances.isnan().all()
    assert observations.offset_variance == 0
    assert observe([0.0, 0.5], [[0.25], [0.5]]).variances.isnan().all()


def test_arrays_of_unequal_lengths_carry_their_whole_variance():
    rng = np.random.default_rng(2)
    short, long = rng.normal(size=10), rng.normal(size=40)
    observations = observe([0.0, 1.0], [short, long])
    expected = [variance_of_mean(short), variance_of_mean(long)]
    np.testing.assert_allclose(observations.covariance, np.diag(expected))
    np.testing.assert_allclose(observations.working_variances, expected)
    assert observations.offset_variance == 0


def test_a_number_among_arrays():
    rng = np.random.default_rng(3)
    table = np.array([[1], [3]]) * rng.normal(size=2000) + 0.1 * rng.normal(size=(2, 2000))
    mixed = observe([0, 1, 0.5], [*table, 0.3])
    whole = np.cov(table) / 2000
    np.testing.assert_allclose(mixed.covariance[:2, :2], whole, atol=0.01 * whole.max())
    assert mixed.variances[2].isnan()
    assert mixed.covariance[2, :2].tolist() == [0, 0]


def test_evaluations_that_no_image_connects_stand_alone():
    a, b = [1.0, 2.0, math.nan, math.nan], [math.nan, math.nan, 7.0, 9.0]
    observations = observe([0.0, 1.0], [a, b])
    assert observations.values.tolist() == [1.5, 8.0]
    expected = np.diag([variance_of_mean([1, 2]), variance_of_mean([7, 9])])
    np.testing.assert_allclose(observations.covariance, expected)


def test_images_connect_through_other_evaluations():
    nan = math.nan
    scores = [[1, 2, 3, nan, nan], [nan, 2.5, 3.5, 4, nan], [nan, nan, nan, 4.25, 5]]
    observations = observe([0.0, 0.5, 1.0], scores)
    np.testing.assert_allclose(observations.values.diff(), [0.5, 0.25], atol=1e-9)


def test_scores_that_agree_exactly_have_no_noise():
    table = np.arange(5.0) + np.array([[0.0], [1.0], [0.5]])
    observations = observe([0, 0.5, 1], list(table))
    np.testing.assert_allclose(observations.values.diff(), [1, -0.5], atol=1e-12)
    np.testing.assert_allclose(observations.covariance, np.zeros((3, 3)), atol=1e-20)


@pytest.mark.slow
@given(
    images=st.integers(2, 64),
    level=st.floats(0, 1e6),
    effect=st.sampled_from([0.0, 1e-9, 1.0]),
    curve=st.sampled_from([0.0, 1e-3, 1.0]),
    missing=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_images_that_differ_only_by_a_constant_leave_no_error(
    images, level, effect, curve, missing, seed
):
    rng = np.random.default_rng(seed)
    at = np.linspace(0, 1, 7)
    truth = -curve * (at - 0.6) ** 2
    table = truth[:, None] + level + effect * rng.normal(size=images)
    exact = 1e-14 * np.abs(table).max() + 1e-30
    table[:, 1:][rng.random((7, images - 1)) < missing] = np.nan
    observations = observe(list(at), list(table))
    np.testing.assert_allclose(centred(observations), truth - truth.mean(), atol=exact)
    assert (observations.variances >= 0).all()
    assert (observations.variances <= exact**2).all()
    answer = recommend(fit_surrogate(observations))
    # The surrogate's own noise floor is a thousandth of the spread that it sees.
    little = 0.02 * math.hypot(curve, observations.offset_variance**0.5) + exact
    assert answer.gain_over_reference.value == pytest.approx(0.36 * curve, abs=little)
    assert answer.gain_over_reference.stderr < little
    assert answer.gain_over_aligned.stderr < little


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
