"""The differences of J between evaluated λs, estimated from the images that they share.

The contrasts of J come from generalised least squares (`gls`). Many images show their own
covariance better than any parametric formula, which then only fills gaps; few images need the
formula. S is therefore a posterior mean whose prior is the parametric covariance of `image_noise`
(eq-scatter), after one step of expectation maximisation for the missing scores.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | scores; NaN = missing | (n, m) |
| s², R | `variance`, `correlation` | of the deviations of one image | number, (n, n) |
| ν | `PRIOR_IMAGES` | prior strength of s²R | number |
| S | `scatter` | covariance of one image's deviations less their mean; S 1 = 0 | (n, n) |
| Q_S | `precision` | of J at the evaluated λs, from all images; Q_S 1 = 0 | (n, n) |
| V | `covariance` | of the errors of the contrasts; V 1 = 0 | (n, n) |

Labels like eq-scatter are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lamsearch.surrogate.gls import Sums, normal_equations, pseudo_inverse, within_precision
from lamsearch.surrogate.image_noise import ImageNoise, student_inflation
from lamsearch.surrogate.restricted_likelihood import fit_noise

PRIOR_IMAGES = 10
"""Prior strength of the parametric covariance, in pseudo-images."""

_RIDGE = 1e-9
"""Smallest eigenvalue of S scaled to unit size: rounding must not make it negative."""


class Comparison(NamedTuple):
    """What the images say about the differences of J.

    Attributes:
        contrasts: (n,) estimates of J at the evaluated λs, less their mean.
        covariance: (n, n) V.
        image_noise: The deviations of single images, which V follows from.
    """

    contrasts: Tensor
    covariance: Tensor
    image_noise: ImageNoise


def compare(lams: Tensor, table: Tensor) -> Comparison | None:
    """Estimate the differences of J between n ≥ 2 evaluations (eq-covariance).

    Args:
        lams: (n,) evaluated λs.
        table: (n, m) scores, NaN = missing; the images connect all n evaluations.

    Returns:
        The comparison, or None where the scores leave no degree of freedom to estimate their noise.
    """
    fit = fit_noise(lams, table)
    if fit is None:
        return None
    images = fit.table.shape[1]
    inflation = student_inflation(images)
    scatter = inflation * posterior_scatter(fit.variance, fit.correlation, fit.sums, images)
    size = scatter.diagonal().mean()
    equations = normal_equations(_regularized(scatter / size)[None], fit.table, fit.patterns)
    inverse = pseudo_inverse(equations.precision)[0][0]
    estimate = fit.start + inverse @ equations.right_side[0]
    return Comparison(
        contrasts=estimate - estimate.mean(),
        covariance=size * inverse,
        image_noise=ImageNoise(
            lams, scatter, inflation * fit.variance, fit.lengthscale, fit.nugget
        ),
    )


def comparison_covariance(scatter: Tensor, counts: Sequence[int]) -> Tensor:
    """Return V, had each evaluation seen the first images of one ordered plan (eq-prefix).

    Args:
        scatter: (n, n) S.
        counts: n numbers ≥ 1: evaluation j has seen the first counts[j] images.

    Returns:
        (n, n), equal to `Comparison.covariance` at the counts of the data.
    """
    size = scatter.diagonal().mean()
    correlation, seen = _regularized(scatter / size), torch.tensor(counts)
    precision, start = torch.zeros_like(scatter), 0
    for stop in sorted(set(counts)):
        rows = (seen >= stop).nonzero().squeeze(1)
        if len(rows) > 1:
            within = within_precision(correlation[None, rows[:, None], rows])[0][0]
            precision[rows[:, None], rows] += (stop - start) * within
        start = stop
    covariance: Tensor = size * pseudo_inverse(precision[None])[0][0]
    return covariance


def posterior_scatter(variance: float, correlation: Tensor, sums: Sums, images: int) -> Tensor:
    """Return S (n, n): the imputed deviations' covariance averaged with the parametric one.

    Args:
        variance: s².
        correlation: (n, n) R.
        sums: Over the m images, for this one correlation.
        images: m.
    """
    n = len(correlation)
    total = PRIOR_IMAGES * variance * correlation + sums.outer[0] + variance * sums.imputation[0]
    denominator = PRIOR_IMAGES - 1.0 + images  # J was estimated from the same scores
    centre = torch.eye(n, dtype=total.dtype) - 1 / n
    return centre @ total @ centre / denominator


def _regularized(scatter: Tensor) -> Tensor:
    """Return S, of unit size, made positive definite: no comparison sees the direction 1."""
    n = len(scatter)
    return scatter + 1 / n + _RIDGE * torch.eye(n, dtype=scatter.dtype)
