"""What `summarize_agreement` returns: plain data, a docstring per field.

Undefined statistics are None.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A statistic in units of the reward and relative to it.

    Attributes:
        value: The statistic.
        percent_of_mean: 100 · value/|mean(original)|; None where that mean is 0.
        percent_of_range: 100 · value/range of the curve; None where no range is given.
    """

    value: float
    percent_of_mean: float | None
    percent_of_range: float | None


@dataclass(frozen=True)
class Scale:
    """What statistics are compared with.

    Attributes:
        mean: mean(original): each target strength of all comparisons counts once, whatever the
            number of anchors that emulate it. The paper's percentages use this mean.
        range: Range of the curve, as the caller gave it.
    """

    mean: float
    range: float | None

    def measure(self, value: float) -> Measure:
        """Return the statistic with its percentages."""
        return Measure(
            value,
            100 * value / abs(self.mean) if self.mean else None,
            None if self.range is None else 100 * value / self.range,
        )


@dataclass(frozen=True)
class BlandAltman:
    """Systematic and random part of the differences y − x.

    Attributes:
        bias: d̄, the mean difference.
        standard_deviation: s_d with n − 1; None with fewer than two pairs.
        lower: d̄ − 1.96 s_d; None with fewer than two pairs.
        upper: d̄ + 1.96 s_d; None with fewer than two pairs.
    """

    bias: Measure
    standard_deviation: Measure | None
    lower: Measure | None
    upper: Measure | None


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap of the mean absolute error.

    Attributes:
        mean: Mean over the resamples.
        lower: Their 2.5th percentile.
        upper: Their 97.5th percentile.
        resamples: B.
    """

    mean: Measure
    lower: Measure
    upper: Measure
    resamples: int


@dataclass(frozen=True)
class ErrorDistribution:
    """Empirical distribution function of the absolute differences (Fig. 3), in units of the reward.

    Attributes:
        errors: The absolute differences, ascending.
        fractions: Fraction of the pairs with an error up to and including that one.
        percentile_75: 75th percentile, linearly interpolated.
        percentile_90: 90th percentile.
        maximum: Largest error.
        within_5e_4: Fraction ≤ 5e-4, a threshold made for cosine scores such as PickScore.
        within_1e_3: Fraction ≤ 1e-3.
    """

    errors: tuple[float, ...]
    fractions: tuple[float, ...]
    percentile_75: float
    percentile_90: float
    maximum: float
    within_5e_4: float
    within_1e_3: float


@dataclass(frozen=True)
class LinearFit:
    """Least squares y = slope · x + intercept.

    Attributes:
        slope: 1 where the emulation follows the from-scratch family.
        intercept: In units of the reward.
        r_squared: Squared correlation of x and y; None where all y are equal.
    """

    slope: float
    intercept: float
    r_squared: float | None


@dataclass(frozen=True)
class ErrorStatistics:
    """All statistics of one group of comparisons.

    Attributes:
        pairs: n.
        mean_absolute_error: Mean of the absolute differences.
        bootstrap: Of the mean absolute error over pairs; None with fewer than two. Pairs that
            share an anchor or a target are not independent, so it tends to be too narrow.
        image_bootstrap: The same over images, drawn jointly for all pairs; None unless every pair
            has scores of the same images. It says how much the error owes to these very images;
            image noise enlarges them, so that its mean lies above the mean absolute error.
        root_mean_squared_error: √ of the mean of d².
        median_absolute_error: Median of the absolute differences.
        bland_altman: Bias, spread and limits of agreement.
        distribution: Of the absolute differences.
        fit: y against x; None with fewer than two pairs, or where all x are equal.
    """

    pairs: int
    mean_absolute_error: Measure
    bootstrap: Bootstrap | None
    image_bootstrap: Bootstrap | None
    root_mean_squared_error: Measure
    median_absolute_error: Measure
    bland_altman: BlandAltman
    distribution: ErrorDistribution
    fit: LinearFit | None


@dataclass(frozen=True)
class Agreement:
    """How well realigned anchors agree with models aligned from scratch.

    Attributes:
        scale: What the percentages refer to.
        interpolated: Statistics of the pairs with 0 < λ < 1; None if there are none.
        extrapolated: Statistics of the pairs with λ > 1; None if there are none.
        exact: The number of comparisons left out because λ is 0 or 1.
    """

    scale: Scale
    interpolated: ErrorStatistics | None
    extrapolated: ErrorStatistics | None
    exact: int
