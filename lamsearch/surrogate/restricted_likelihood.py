"""The parameters of the image noise, by restricted maximum likelihood (Patterson & Thompson 1971).

The likelihood is that of what does not depend on J or on the images' effects. Its maximum over s²
has a closed form; (ℓ, e) is chosen on a fixed grid: no starting point, and the same scores always
give the same answer.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | scores; NaN = missing | (n, m) |
| s², ℓ, e | `variance`, `lengthscale`, `nugget` | of the deviations (`image_noise`) | numbers |
| R | `correlation` | of one image's deviations at the evaluated λs | (N, n, n) |
| Q⁺ | `inverse` | covariance of the estimated J, less its mean, in units of s² | (N, n, n) |
| ρ | `residual` | sum of squares that the estimated J leaves | (N,) |
| f | `freedom` | degrees of freedom of s² | number |

Labels like eq-reml are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.gls import (
    MissingPattern,
    NormalEquations,
    Sums,
    missing_patterns,
    normal_equations,
    pseudo_inverse,
    sum_images,
)
from lamsearch.surrogate.image_noise import correlations, parameter_grid

_ROUNDINGS = 4
"""Units in the last place of the largest score by which rounding may move a deviation."""

_CELLS = 2**20
"""Entries of the correlations that are tried in one step: more would take memory for nothing."""

_TIE = 1e-6
"""Log likelihoods that differ by less count as equal."""


class NoiseFit(NamedTuple):
    """The maximum of the restricted likelihood, and the data as it sees them.

    Attributes:
        start: (n,) estimate of J.
        table: (n, m) scores of the images that compare anything, less `start` and less each
            image's mean: what follows need not subtract large numbers.
        patterns: Of the table.
        sums: Over the table's images, under the best correlation.
        correlation: (n, n) R.
        variance: s².
        lengthscale: ℓ.
        nugget: e.
    """

    start: Tensor
    table: Tensor
    patterns: list[MissingPattern]
    sums: Sums
    correlation: Tensor
    variance: float
    lengthscale: float
    nugget: float


def fit_noise(lams: Tensor, table: Tensor) -> NoiseFit | None:
    """Maximise the restricted likelihood.

    Args:
        lams: (n,) evaluated λs, n ≥ 2.
        table: (n, m) scores, NaN = missing; the images connect all n evaluations.

    Returns:
        The fit, or None where the scores leave no degree of freedom to estimate s².
    """
    counts = (~table.isnan()).sum(dim=0)
    table, counts = table[:, counts > 1], counts[counts > 1]  # other images compare nothing
    freedom = int((counts - 1).sum()) - (len(lams) - 1)
    if freedom < 1:
        return None
    patterns, floor = missing_patterns(table), _rounding_variance(table)
    start, table = _rough_means(table)
    lengthscales, nuggets = parameter_grid((lams.max() - lams.min()).item() or 1.0)
    step = max(1, _CELLS // len(lams) ** 2)
    found = [
        _restricted_likelihood(
            normal_equations(correlations(lams, *part), table, patterns), freedom, floor
        )
        for part in zip(torch.split(lengthscales, step), torch.split(nuggets, step), strict=True)
    ]
    likelihood, corrections = map(torch.cat, zip(*found, strict=True))
    best = _last_maximum(likelihood)
    correlation = correlations(lams, lengthscales[best, None], nuggets[best, None])
    table = _without_effects(table - corrections[best, :, None])
    sums = sum_images(correlation, table, patterns)
    return NoiseFit(
        start=start + corrections[best],
        table=table,
        patterns=patterns,
        sums=sums,
        correlation=correlation[0],
        variance=sums.equations.squares.item() / freedom + floor,
        lengthscale=lengthscales[best].item(),
        nugget=nuggets[best].item(),
    )


def _restricted_likelihood(
    equations: NormalEquations, freedom: int, floor: float
) -> tuple[Tensor, Tensor]:
    """Return the log likelihoods (N,) at their best s², and estimates of J (N, n) (eq-reml)."""
    inverse, log_determinant = pseudo_inverse(equations.precision)
    estimates = (inverse @ equations.right_side[..., None]).squeeze(-1)
    residual = equations.squares - (equations.right_side * estimates).sum(dim=-1)
    variances = residual.clamp_min(0) / freedom + floor
    log_determinants = equations.log_determinant + log_determinant
    return -(freedom * variances.log() + log_determinants) / 2, estimates


def _last_maximum(likelihood: Tensor) -> int:
    """Return the last node among those whose log likelihoods (N,) count as equal to the largest.

    Two evaluations cannot tell (ℓ, e) apart, and rounding must not choose.
    """
    return int((likelihood > likelihood.max() - _TIE).nonzero()[-1])


def _rounding_variance(table: Tensor) -> float:
    """Return the variance that rounding alone may give to scores of this size; never quite 0."""
    number = torch.finfo(table.dtype)
    error: float = _ROUNDINGS * number.eps * float(table.nan_to_num(0.0).abs().max())
    return error**2 + math.sqrt(number.tiny)


def _rough_means(table: Tensor) -> tuple[Tensor, Tensor]:
    """Return a first estimate of J (n,), and the scores less it and less their images' means.

    The least squares remove both exactly, but would have to subtract large numbers.
    """
    start = _without_effects(table).nanmean(dim=1)
    return start, _without_effects(table - start[:, None])


def _without_effects(table: Tensor) -> Tensor:
    """Return the scores less their images' means, which no comparison sees but rounding would."""
    return table - table.nanmean(dim=0)
