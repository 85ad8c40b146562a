"""The statistics of A.8: the paper's own numbers, scipy's, hand calculations and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from deradiff.agreement import (
    Agreement,
    Comparison,
    ErrorStatistics,
    Measure,
    Scale,
    summarize_agreement,
)

TARGETS = (500, 1000, 2000, 5000, 8000, 10000)

TABLE_2 = {
    "pickscore": (
        (0.2273, 0.2314, 0.2313, 0.2311, 0.2312, 0.2308),
        (0.2243, 0.2296, 0.2313, 0.2312, 0.2309, 0.2305),
        (1.3451, 0.7831, 0.0, 0.0611, 0.1399, 0.0987),
    ),
    "hps": (
        (0.2869, 0.2919, 0.2921, 0.2916, 0.2910, 0.2903),
        (0.2852, 0.2918, 0.2921, 0.2911, 0.2902, 0.2897),
        (0.5890, 0.0299, 0.0, 0.1701, 0.2688, 0.2061),
    ),
    "clip": (
        (0.3628, 0.3757, 0.3752, 0.3763, 0.3751, 0.3752),
        (0.3643, 0.3738, 0.3752, 0.3751, 0.3752, 0.3751),
        (0.4022, 0.5077, 0.0, 0.3041, 0.0310, 0.0282),
    ),
}
"""Table 2, anchor β = 2000: actual, approximated, absolute difference in %."""

MEAN_ABSOLUTE_ERRORS = {
    "pickscore": ((1 + 3 + 3) / 3, (30 + 18) / 2),
    "hps": ((5 + 8 + 6) / 3, (17 + 1) / 2),
    "clip": ((12 + 1 + 1) / 3, (15 + 19) / 2),
}
"""From Table 2's printed means, in units of 1e-4: λ < 1 (three targets), λ > 1 (two)."""

MEAN_ORIGINALS = {"pickscore": 0.23050854, "hps": 0.29063613, "clip": 0.37339454}
"""mean(original) of Tables 6, 10 and 14; for HPS the ratio of Table 10's two columns."""

TABLES = {
    6: (0.0016039451, 0.0019937258, -0.0010176182, 0.0017746416, -0.0044959156, 0.0024606793),
    7: (0.0050135314, 0.0079368771, -0.0037334899, 0.0072497589, -0.0179430174, 0.0104760376),
    14: (
        0.00035467042,
        0.00044137217,
        0.000063384324,
        0.00045212809,
        -0.00082278673,
        0.00094955538,
    ),
    15: (0.0049025384, 0.0071018544, -0.0046440932, 0.0055615454, -0.0155447221, 0.0062565357),
    16: (0.00071792895, 0.00109712428, -0.00070912076, 0.00086653833, -0.0024075359, 0.00098929437),
    17: (0.0022554768, 0.0037856849, -0.0015730770, 0.0035642329, -0.0085589735, 0.0054128196),
}
"""MAE, RMSE, bias, SD and limits of agreement as printed."""


def table_2(reward: str) -> list[Comparison]:
    actual, approximated, _ = TABLE_2[reward]
    return [
        Comparison(2000, target, x, y)
        for target, x, y in zip(TARGETS, actual, approximated, strict=True)
    ]


def summarize(
    comparisons: list[Comparison], curve_range: float | None = None, resamples: int = 100
) -> Agreement:
    return summarize_agreement(
        comparisons,
        generator=np.random.default_rng(0),
        curve_range=curve_range,
        resamples=resamples,
    )


def interpolated(
    comparisons: list[Comparison], curve_range: float | None = None, resamples: int = 100
) -> ErrorStatistics:
    group = summarize(comparisons, curve_range, resamples).interpolated
    assert group is not None
    return group


def pairs(original: list[float], approximated: list[float]) -> list[Comparison]:
    """One anchor at β = 1 and as many targets, so that λ = 1/2, 1/3, ..."""
    return [
        Comparison(1, i + 2, x, y)
        for i, (x, y) in enumerate(zip(original, approximated, strict=True))
    ]


@pytest.mark.parametrize("reward", TABLE_2)
def test_the_paper_s_table_2(reward: str) -> None:
    agreement = summarize(table_2(reward))
    below, above = MEAN_ABSOLUTE_ERRORS[reward]
    assert agreement.interpolated is not None
    assert agreement.extrapolated is not None
    assert agreement.interpolated.mean_absolute_error.value == pytest.approx(below * 1e-4)
    assert agreement.extrapolated.mean_absolute_error.value == pytest.approx(above * 1e-4)
    assert (agreement.interpolated.pairs, agreement.extrapolated.pairs, agreement.exact) == (
        3,
        2,
        1,
    )
    # mean(original) is the mean of the six models, to the rounding of the printed scores
    assert agreement.scale.mean == pytest.approx(MEAN_ORIGINALS[reward], abs=5e-5)


@pytest.mark.parametrize("reward", TABLE_2)
def test_the_paper_s_relative_differences(reward: str) -> None:
    """Table 2's third row was computed from unrounded scores: equal to their rounding."""
    for comparison, printed in zip(table_2(reward), TABLE_2[reward][2], strict=True):
        relative = 100 * abs(comparison.difference) / comparison.original
        assert relative == pytest.approx(printed, abs=100 * 1e-4 / comparison.original)


@pytest.mark.parametrize(
    ("mean", "error", "percent"),
    [(0.3734, 0.001604, 0.430), (0.2906, 0.000770, 0.265), (0.2305, 0.000355, 0.154)],
)
def test_the_paper_s_table_1(mean: float, error: float, percent: float) -> None:
    """SDXL under CLIP, HPS and PickScore, in percent of the paper's means of these rewards."""
    found = Scale(mean, None).measure(error).percent_of_mean
    assert found == pytest.approx(percent, abs=6e-4)


@pytest.mark.parametrize("table", TABLES)
def test_the_paper_s_tables_leave_out_the_diagonal(table: int) -> None:
    """RMSE² = bias² + SD² (n − 1)/n gives the n of each table: 15, half of six times five."""
    _, rmse, bias, deviation, lower, upper = TABLES[table]
    remainder = 1 - (rmse**2 - bias**2) / deviation**2
    assert 1 / remainder == pytest.approx(15, abs=0.01)
    assert (lower, upper) == pytest.approx(
        (bias - 1.96 * deviation, bias + 1.96 * deviation), abs=1e-9
    )
    family = [Comparison(a, t, 0.2, 0.2) for a in TARGETS for t in TARGETS]
    agreement = summarize(family)
    assert agreement.interpolated is not None
    assert agreement.extrapolated is not None
    assert agreement.interpolated.pairs == agreement.extrapolated.pairs == 15
    assert agreement.exact == 6


def test_every_statistic_by_hand() -> None:
    x, y = [1.0, 2.0, 3.0, 6.0], [1.5, 1.8, 3.0, 7.0]  # d = 0.5, −0.2, 0, 1
    result = interpolated(pairs(x, y), curve_range=10.0)
    assert result.pairs == 4
    assert measured(result.mean_absolute_error) == pytest.approx((0.425, 425 / 30, 4.25))
    assert result.root_mean_squared_error.value == pytest.approx(math.sqrt(1.29 / 4))
    assert result.median_absolute_error.value == pytest.approx(0.35)
    bland_altman = result.bland_altman
    assert bland_altman.standard_deviation is not None
    assert bland_altman.lower is not None
    assert bland_altman.upper is not None
    assert bland_altman.bias.value == pytest.approx(0.325)
    deviation = math.sqrt((0.175**2 + 0.525**2 + 0.325**2 + 0.675**2) / 3)
    assert bland_altman.standard_deviation.value == pytest.approx(deviation)
    assert bland_altman.lower.value == pytest.approx(0.325 - 1.96 * deviation)
    assert bland_altman.upper.percent_of_range == pytest.approx(10 * (0.325 + 1.96 * deviation))
    assert result.distribution.errors == pytest.approx((0, 0.2, 0.5, 1))
    assert result.distribution.fractions == (0.25, 0.5, 0.75, 1)
    assert result.distribution.percentile_75 == pytest.approx(0.625)
    assert result.distribution.percentile_90 == pytest.approx(0.85)
    assert result.distribution.maximum == pytest.approx(1)


def measured(measure: Measure) -> tuple[float | None, ...]:
    return measure.value, measure.percent_of_mean, measure.percent_of_range


def test_thresholds_include_their_ends() -> None:
    errors = interpolated(pairs([0.0] * 5, [0, 5e-4, -1e-3, 2e-3, 4e-4])).distribution
    assert (errors.within_5e_4, errors.within_1e_3) == (0.6, 0.8)


finite = st.floats(-10, 10).map(lambda value: round(value, 3))
series = st.lists(st.tuples(finite, finite), min_size=3, max_size=12)


@given(series)
def test_statistics_against_scipy(points: list[tuple[float, float]]) -> None:
    x, y = (np.array(side) for side in zip(*points, strict=True))
    result = interpolated(pairs(list(x), list(y)), resamples=10)
    summary = stats.describe(y - x)
    assert result.bland_altman.bias.value == pytest.approx(summary.mean, abs=1e-12)
    assert result.bland_altman.standard_deviation is not None
    assert result.bland_altman.standard_deviation.value == pytest.approx(
        math.sqrt(summary.variance), abs=1e-12
    )
    ecdf = stats.ecdf(np.abs(y - x)).cdf
    fractions = dict(zip(result.distribution.errors, result.distribution.fractions, strict=True))
    assert list(fractions) == pytest.approx(list(ecdf.quantiles))
    assert list(fractions.values()) == pytest.approx(list(ecdf.probabilities))
    if np.ptp(x) == 0:
        assert result.fit is None
        return
    line = stats.linregress(x, y)
    assert result.fit is not None
    assert result.fit.slope == pytest.approx(line.slope, abs=1e-9)
    assert result.fit.intercept == pytest.approx(line.intercept, abs=1e-8)
    if np.ptp(y) > 0:
        assert result.fit.r_squared == pytest.approx(line.rvalue**2, abs=1e-9)


@settings(max_examples=25)
@given(series, st.floats(-5, 5), st.floats(0.1, 10))
def test_errors_shift_with_nothing_and_scale_with_the_scores(
    points: list[tuple[float, float]], shift: float, factor: float
) -> None:
    x, y = (np.array(side) for side in zip(*points, strict=True))
    plain = errors(interpolated(pairs(list(x), list(y)), curve_range=2.0))
    moved = errors(interpolated(pairs(list(x + shift), list(y + shift)), curve_range=2.0))
    wider = errors(interpolated(pairs(list(factor * x), list(factor * y)), curve_range=2 * factor))
    assert [m.value for m in moved] == pytest.approx([m.value for m in plain], abs=1e-9)
    assert [m.value for m in wider] == pytest.approx([factor * m.value for m in plain], abs=1e-9)
    for a, b in zip(wider, plain, strict=True):
        assert a.percent_of_range == pytest.approx(b.percent_of_range, abs=1e-7)
        if b.percent_of_mean is not None and a.percent_of_mean is not None:
            assert a.percent_of_mean == pytest.approx(b.percent_of_mean, rel=1e-6, abs=1e-6)


def errors(result: ErrorStatistics) -> list[Measure]:
    assert result.bootstrap is not None
    return [
        result.mean_absolute_error,
        result.root_mean_squared_error,
        result.median_absolute_error,
        result.bland_altman.bias,
        result.bootstrap.mean,
        result.bootstrap.lower,
        result.bootstrap.upper,
    ]


def test_identical_models_agree_entirely() -> None:
    scores = [0.2, 0.3, 0.5]
    result = interpolated(pairs(scores, scores), curve_range=0.3)
    assert all(measured(measure) == (0, 0, 0) for measure in errors(result))
    assert result.fit is not None
    assert (result.fit.slope, result.fit.r_squared) == pytest.approx((1, 1))
    assert result.fit.intercept == pytest.approx(0, abs=1e-12)


def test_bootstrap_agrees_with_scipy_and_with_its_seed() -> None:
    differences = np.random.default_rng(1).normal(0.1, 1, size=15)
    comparisons = pairs([0.0] * 15, list(differences))
    mine = interpolated(comparisons, resamples=20_000).bootstrap
    theirs = stats.bootstrap(
        (np.abs(differences),),
        np.mean,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(2),
    )
    assert mine is not None
    interval = (mine.lower.value, mine.upper.value)
    assert interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)
    assert mine.mean.value == pytest.approx(np.abs(differences).mean(), abs=0.005)
    assert mine == interpolated(comparisons, resamples=20_000).bootstrap
    assert mine.resamples == 20_000


def test_groups_are_apart_and_what_is_exact_is_in_neither() -> None:
    comparisons = [
        Comparison(500, 1000, 0.2, 0.3),
        Comparison(1000, 500, 0.1, 0.4),
        Comparison(500, 500, 0.1, 0.1),
        Comparison(500, math.inf, 0.05, 0.05),
    ]
    agreement = summarize(comparisons)
    assert agreement.interpolated is not None
    assert agreement.extrapolated is not None
    assert agreement.interpolated.mean_absolute_error.value == pytest.approx(0.1)
    assert agreement.extrapolated.mean_absolute_error.value == pytest.approx(0.3)
    assert agreement.exact == 2
    assert [c.lam for c in comparisons] == [0.5, 2, 1, 0]
    # 1000 → 0.2 and 500 → 0.1, once each; the reference is not aligned from scratch
    assert agreement.scale.mean == pytest.approx(0.15)
    assert summarize(comparisons[2:]).interpolated is None


def test_what_one_pair_leaves_undefined_is_none() -> None:
    result = interpolated([Comparison(1, 2, 0.0, 0.5)])
    assert (result.bootstrap, result.image_bootstrap, result.fit) == (None, None, None)
    assert result.bland_altman.standard_deviation is None
    assert (result.bland_altman.lower, result.bland_altman.upper) == (None, None)
    assert measured(result.mean_absolute_error) == (0.5, None, None)
    assert interpolated(pairs([1.0, 1.0], [1.0, 2.0])).fit is None
    flat = interpolated(pairs([1.0, 2.0], [1.0, 1.0])).fit
    assert flat is not None
    assert flat.r_squared is None


def test_percentages_of_a_negative_mean_keep_the_sign_of_the_error() -> None:
    bias = interpolated(pairs([-2.0, -2.0], [-1.0, -1.0])).bland_altman.bias
    assert bias.percent_of_mean == pytest.approx(50)


def test_paired_difference_against_scipy() -> None:
    draws = np.random.default_rng(0)
    original = draws.normal(size=50)
    approximated = 0.8 * original + draws.normal(0.1, 0.3, size=50)
    original[3], approximated[7] = np.nan, np.nan
    comparison = Comparison.from_scores(500, 1000, original=original, approximated=approximated)
    kept = np.delete(np.arange(50), [3, 7])
    paired = comparison.paired_difference()
    assert paired is not None
    assert paired.images == 48
    test = stats.ttest_rel(approximated[kept], original[kept])
    assert paired.standard_error is not None
    assert paired.mean / paired.standard_error == pytest.approx(test.statistic)
    assert paired.mean == pytest.approx(comparison.difference)
    expected = stats.pearsonr(original[kept], approximated[kept]).statistic
    assert paired.correlation == pytest.approx(expected)
    assert paired.standard_error < stats.sem(original[kept])


def test_paired_differences_that_are_undefined() -> None:
    assert Comparison(1, 2, 0.1, 0.2).paired_difference() is None
    one = Comparison(1, 2, 0.1, 0.2, [0.1, math.nan], [0.2, 0.3]).paired_difference()
    assert one is not None
    assert (one.images, one.standard_error, one.correlation) == (1, None, None)
    constant = Comparison(1, 2, 0.1, 0.2, [0.1, 0.1], [0.2, 0.4]).paired_difference()
    assert constant is not None
    assert constant.correlation is None
    assert constant.standard_error == pytest.approx(0.1)


def test_image_bootstrap_draws_the_same_images_for_all_pairs() -> None:
    """Differences that cancel over pairs image by image have an error that no image moves."""
    noise = np.random.default_rng(0).normal(size=200)
    zero = np.zeros(200)
    comparisons = [
        Comparison.from_scores(1, 2, original=zero, approximated=1 + 0.5 * noise),
        Comparison.from_scores(1, 3, original=zero, approximated=1 - 0.5 * noise),
    ]
    drawn = interpolated(comparisons, resamples=2000).image_bootstrap
    assert drawn is not None
    assert (drawn.lower.value, drawn.upper.value) == pytest.approx((1, 1), abs=1e-9)
    alone = interpolated(comparisons[:1], resamples=2000).image_bootstrap
    assert alone is not None
    width = 2 * 1.96 * 0.5 * noise.std() / math.sqrt(200)
    assert alone.upper.value - alone.lower.value == pytest.approx(width, rel=0.1)
    without = [*comparisons, Comparison(1, 4, 0.0, 0.0)]
    assert interpolated(without).image_bootstrap is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 500, 0.1, 0.1), "expected 0 < beta_anchor"),
        ((500, -1, 0.1, 0.1), "beta_target > 0"),
        ((math.inf, 500, 0.1, 0.1), "expected 0 < beta_anchor < inf"),
        ((500, 1000, math.nan, 0.1), "anchor 500 to target 1000: original = nan is not finite"),
        ((500, 1000, 0.1, math.inf), "approximated = inf is not finite"),
        ((500, 1000, 0.1, 0.1, [0.1]), "of both models or of neither"),
        ((500, 1000, 0.1, 0.1, [0.1, 0.2], [0.1]), r"shapes \(2,\) and \(1,\)"),
        ((500, 1000, 0.1, 0.1, [], []), "no image has a score under both models"),
        ((500, 1000, 0.1, 0.1, [math.nan, 1], [1, math.nan]), "no image has a score"),
        ((500, 1000, 0.1, 0.1, [math.inf], [0.1]), "a score is infinite"),
    ],
)
def test_unusable_comparisons_are_refused(arguments: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        Comparison(*arguments)
    assert "\n" not in str(raised.value)


def test_unusable_collections_are_refused() -> None:
    one = Comparison(1, 2, 0.1, 0.1)
    with pytest.raises(ValueError, match="no comparison"):
        summarize([])
    with pytest.raises(ValueError, match="more than once"):
        summarize([one, one])
    with pytest.raises(ValueError, match="curve_range = 0"):
        summarize([one], curve_range=0.0)
    with pytest.raises(ValueError, match="resamples = 0"):
        summarize([one], resamples=0)
    with pytest.raises(ValueError, match="no image has a score"):
        Comparison.from_scores(1, 2, original=[math.nan], approximated=[1.0])
