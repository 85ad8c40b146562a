"""Statistics of emulated against from-scratch models: appendix A.8 of arXiv 2601.20198.

| symbol | code                       | meaning                                                    |
|--------|----------------------------|------------------------------------------------------------|
| x_i    | `Comparison.original`      | mean score of the model aligned from scratch at β_t        |
| y_i    | `Comparison.approximated`  | mean score of the anchor aligned at β_a, at λ = β_a/β_t    |
| d_i    | `Comparison.difference`    | y_i − x_i                                                  |
| n      | `pairs`                    | number of comparisons in a group                           |
| B      | `resamples`                | bootstrap resamples                                        |

λ < 1 (`interpolated`) and λ > 1 (`extrapolated`) are two groups and never pooled. A comparison of
a model with itself, λ = 1 (the diagonal of the anchor × target matrix) or λ = 0 (target = the
reference), has d = 0 by construction and is in neither. The paper does the same: it reports 15
pairs from six strengths (Fig. 3), which is the number of pairs with β_a < β_t, and the RMSE, bias
and SD of each of its Tables 6–17 fit together only for n = 15. Undefined statistics are None.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from deradiff.agreement.comparison import Array, Comparison
from deradiff.agreement.results import (
    Agreement,
    BlandAltman,
    Bootstrap,
    ErrorDistribution,
    ErrorStatistics,
    LinearFit,
    Scale,
)

_RESAMPLES_PER_BLOCK = 500
"""Bounds the memory of a bootstrap over many images."""


def summarize_agreement(
    comparisons: Sequence[Comparison],
    *,
    generator: np.random.Generator,
    curve_range: float | None = None,
    resamples: int = 10_000,
) -> Agreement:
    """Return the statistics of λ < 1 and of λ > 1 (arXiv 2601.20198, A.8).

    Args:
        comparisons: One per pair (anchor, target).
        generator: Draws the bootstrap resamples.
        curve_range: Largest minus smallest mean score along the curve over β that is emulated:
            normally over the from-scratch family and the reference. A mean of 0.23 makes any
            error look small; this does not.
        resamples: B.

    Raises:
        ValueError: If there is no comparison, one is given twice, two comparisons with the same
            target disagree about its original mean, or `curve_range` is not positive.
    """
    if curve_range is not None and not 0 < curve_range < math.inf:
        raise ValueError(f"curve_range = {curve_range}: expected a positive number")
    if resamples < 1:
        raise ValueError(f"resamples = {resamples}: expected at least 1")
    scale = Scale(_mean_original(comparisons), curve_range)
    groups = (
        [c for c in comparisons if 0 < c.lam < 1],
        [c for c in comparisons if c.lam > 1],
    )
    interpolated, extrapolated = (
        _statistics(group, scale=scale, generator=generator, resamples=resamples) if group else None
        for group in groups
    )
    return Agreement(scale, interpolated, extrapolated, sum(c.is_exact for c in comparisons))


def _mean_original(comparisons: Sequence[Comparison]) -> float:
    """Return mean(original) over the target strengths, each counted once."""
    pairs = {(c.beta_anchor, c.beta_target) for c in comparisons}
    if len(pairs) < len(comparisons):
        raise ValueError("a pair of anchor and target is given more than once: give each once")
    originals = defaultdict(list)
    for comparison in comparisons:
        if math.isfinite(comparison.beta_target):  # the reference is not aligned from scratch
            originals[comparison.beta_target].append(comparison.original)
    if not originals:
        raise ValueError("no comparison with a finite beta_target: give at least one")
    # Where images are missing, the same target may have several means: one per anchor.
    return float(np.mean([np.mean(means) for means in originals.values()]))


def _statistics(
    group: Sequence[Comparison], *, scale: Scale, generator: np.random.Generator, resamples: int
) -> ErrorStatistics:
    differences = np.array([c.difference for c in group])
    errors = np.abs(differences)
    return ErrorStatistics(
        pairs=len(group),
        mean_absolute_error=scale.measure(float(errors.mean())),
        bootstrap=_bootstrap(errors[:, None], scale, generator, resamples),
        image_bootstrap=_image_bootstrap(group, scale, generator, resamples),
        root_mean_squared_error=scale.measure(float(np.sqrt(np.mean(differences**2)))),
        median_absolute_error=scale.measure(float(np.median(errors))),
        bland_altman=_bland_altman(differences, scale),
        distribution=_distribution(errors),
        fit=_fit(np.array([c.original for c in group]), np.array([c.approximated for c in group])),
    )


def _bland_altman(differences: Array, scale: Scale) -> BlandAltman:
    bias = float(differences.mean())
    if len(differences) < 2:
        return BlandAltman(scale.measure(bias), None, None, None)
    deviation = float(differences.std(ddof=1))
    bounds = (bias - 1.96 * deviation, bias + 1.96 * deviation)
    return BlandAltman(
        scale.measure(bias), scale.measure(deviation), *(scale.measure(b) for b in bounds)
    )


def _distribution(errors: Array) -> ErrorDistribution:
    ordered = np.sort(errors)
    n = len(ordered)
    return ErrorDistribution(
        errors=tuple(ordered.tolist()),
        fractions=tuple((np.arange(1, n + 1) / n).tolist()),
        percentile_75=float(np.percentile(ordered, 75)),
        percentile_90=float(np.percentile(ordered, 90)),
        maximum=float(ordered[-1]),
        within_5e_4=float(np.mean(ordered <= 5e-4)),
        within_1e_3=float(np.mean(ordered <= 1e-3)),
    )


def _fit(x: Array, y: Array) -> LinearFit | None:
    if len(x) < 2 or np.ptp(x) == 0:
        return None
    centred = x - x.mean()
    slope = float(centred @ (y - y.mean()) / (centred @ centred))
    r_squared = float(np.corrcoef(x, y)[0, 1] ** 2) if np.ptp(y) > 0 else None
    return LinearFit(slope, float(y.mean() - slope * x.mean()), r_squared)


def _bootstrap(
    values: Array, scale: Scale, generator: np.random.Generator, resamples: int
) -> Bootstrap | None:
    """Resample the rows of (rows, columns) values; the statistic is the mean of |column means|.

    A NaN is left out of its column's mean.
    """
    rows = len(values)
    if rows < 2:
        return None
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    means = []
    for start in range(0, resamples, _RESAMPLES_PER_BLOCK):
        block = min(_RESAMPLES_PER_BLOCK, resamples - start)
        counts = generator.multinomial(rows, np.full(rows, 1 / rows), size=block).astype(float)
        weights = counts @ present
        kept = (weights > 0).all(axis=1)  # without a column that has no value
        means.append(np.abs((counts @ filled)[kept] / weights[kept]).mean(axis=1))
    statistics = np.concatenate(means)
    if not len(statistics):
        return None
    lower, upper = np.percentile(statistics, [2.5, 97.5])
    return Bootstrap(
        mean=scale.measure(float(statistics.mean())),
        lower=scale.measure(float(lower)),
        upper=scale.measure(float(upper)),
        resamples=resamples,
    )


def _image_bootstrap(
    group: Sequence[Comparison], scale: Scale, generator: np.random.Generator, resamples: int
) -> Bootstrap | None:
    """Resample images, the same ones for every pair; None unless all pairs have the same images."""
    scores = [pair for c in group if (pair := c.paired_scores()) is not None]
    if len(scores) < len(group) or len({len(original) for original, _ in scores}) > 1:
        return None
    differences = np.stack([approximated - original for original, approximated in scores], axis=1)
    return _bootstrap(differences, scale, generator, resamples)
