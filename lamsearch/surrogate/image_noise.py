"""How single images deviate from the mean curve J(λ): the noise that comparisons of λs really have.

    y_ij = J(λ_j) + a_i + d_i(λ_j),    Cov(d_i(λ), d_i(λ')) = s² r(λ, λ')
    r(λ, λ') = (1 − e) exp(−(λ−λ')²/2ℓ²) + e [same evaluation]

An image changes smoothly with λ, so its deviations at neighbouring λs are alike, and evaluations
on the same images share most of their error. The image effect a_i may be anything (a flat prior):
only differences within an image count, and a constant added to all scores of one image changes
nothing. J at the n λs is estimated by generalised least squares, from images that need not have
been scored at every λ; s², ℓ and e by restricted maximum likelihood on a fixed grid. Where there
are many images their own covariance is better than any such formula, which then only fills the
gaps: S is a posterior mean with the formula as its prior (one step of expectation maximisation).
Few images do not say how much images deviate: all variances are widened until a normal
distribution has the 95 % intervals of Student's t.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | scores; NaN = missing | (n, m) |
| r | `correlation` | of the deviations at the evaluated λs | (N, n, n) |
| P | `within` | R⁻¹ − R⁻¹11ᵀR⁻¹/1ᵀR⁻¹1: the precision that is left without a_i | (N, n, n) |
| Q | `precision` | of J at the evaluated λs, from all images; Q 1 = 0 | (N, n, n) |
| S | `scatter` | covariance of one image's deviations less their mean; S 1 = 0 | (n, n) |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from lamsearch.surrogate.gls import (
    Sums,
    Weights,
    sort_alike,
    sum_images,
    weigh_images,
    within_images,
)

SMOOTHNESS = torch.tensor([0.1, 0.17, 0.3, 0.55, 1.0, 2.0], dtype=torch.float64)
"""Grid of ℓ, in units of the evaluated λs' span."""

SHARES = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0], dtype=torch.float64)
"""Grid of e."""

_RIDGE = 1e-9
"""Least eigenvalue of S of unit size: rounding must not make it negative."""

_ROUNDINGS = 4
"""How many units in the last place of the largest score rounding may move a deviation."""

_TIE = 1e-6
"""Log likelihoods that differ by less are as good."""

PRIOR_IMAGES = 10
"""The formula weighs as much as the covariance of so many images."""


@dataclass(frozen=True, eq=False)
class Deviations:
    """Of single images, at the evaluated λs and between them.

    Attributes:
        lams: (n,) evaluated λs.
        scatter: (n, n) covariance of one image's deviations, each image's mean taken out, widened.
        variance: s² ≥ 0, in the units of the scores squared, widened.
        lengthscale: ℓ > 0, in units of λ.
        share: e in (0, 1], the part that is new in each evaluation.
    """

    lams: Tensor
    scatter: Tensor
    variance: float
    lengthscale: float
    share: float

    def regression(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """What an image's deviations at the evaluated λs say about other λs.

        Args:
            lams: (g,) other λs.

        Returns:
            Coefficients (n, g), and the variances (g,) that remain, all relative to the mean of
            the image's deviations at the evaluated λs.
        """
        correlation = self._smooth(self.lams, self.lams)
        correlation += self.share * torch.eye(len(self.lams), dtype=lams.dtype)
        cross = self._smooth(self.lams, lams)
        centred = cross - correlation.mean(dim=1, keepdim=True)
        coefficients = within_images(correlation[None])[0][0] @ centred
        remaining = 1 - 2 * cross.mean(dim=0) + correlation.mean()
        explained = (centred * coefficients).sum(dim=0)
        return coefficients, self.variance * (remaining - explained).clamp_min(0)

    def _smooth(self, lams: Tensor, others: Tensor) -> Tensor:
        squares = (lams[:, None] - others).square() / self.lengthscale**2
        return (1 - self.share) * torch.exp(-squares / 2)


class Comparison(NamedTuple):
    """What the images say about the differences of J.

    Attributes:
        contrasts: (n,) estimates of J at the evaluated λs, less their mean.
        covariance: (n, n) of their errors; its rows sum to 0.
        deviations: What the covariance comes from.
    """

    contrasts: Tensor
    covariance: Tensor
    deviations: Deviations


def compare(lams: Tensor, table: Tensor) -> Comparison | None:
    """Estimate the differences of J between n ≥ 2 evaluations.

    Args:
        lams: (n,) evaluated λs.
        table: (n, m) scores, NaN = missing; the images connect all n evaluations.

    Returns:
        None where the scores leave no degree of freedom to estimate their noise.
    """
    n, counts = len(lams), (~table.isnan()).sum(dim=0)
    table, counts = table[:, counts > 1], counts[counts > 1]  # others compare nothing
    freedom = int((counts - 1).sum()) - (n - 1)
    if freedom < 1:
        return None
    alike, floor = sort_alike(table), _rounding(table)
    start, table = _rough_means(table)
    lengthscales, shares = _nodes((lams.max() - lams.min()).item() or 1.0)
    correlation = _correlation(lams, lengthscales, shares)
    likelihood, corrections = _likelihood(weigh_images(correlation, table, alike), freedom, floor)
    # Two evaluations say nothing of (ℓ, e): rounding must not choose among nodes that are as good.
    best = int((likelihood > likelihood.max() - _TIE).nonzero()[-1])
    start, table = start + corrections[best], _without_effects(table - corrections[best, :, None])
    sums = sum_images(correlation[best, None], table, alike)
    variance = sums.weights.squares.item() / freedom + floor
    wider = widening(table.shape[1])
    scatter = wider * _scatter(variance, correlation[best], sums, table.shape[1])
    size = scatter.diagonal().mean()
    weights = weigh_images(_regular(scatter / size)[None], table, alike)
    inverse = _pseudo_inverse(weights.precision)[0][0]
    estimate = start + inverse @ weights.weighted[0]
    return Comparison(
        contrasts=estimate - estimate.mean(),
        covariance=size * inverse,
        deviations=Deviations(
            lams, scatter, wider * variance, lengthscales[best].item(), shares[best].item()
        ),
    )


def _nodes(span: float) -> tuple[Tensor, Tensor]:
    """All N pairs (ℓ, e) that differ: where e = 1, ℓ does not matter."""
    lengthscales, shares = torch.meshgrid(SMOOTHNESS, SHARES, indexing="ij")
    differ = (shares < 1) | (lengthscales == SMOOTHNESS[-1])
    return span * lengthscales[differ], shares[differ]


def _correlation(lams: Tensor, lengthscales: Tensor, shares: Tensor) -> Tensor:
    squares = (lams[:, None] - lams).square() / lengthscales[:, None, None].square()
    smooth = torch.exp(-squares / 2) * (1 - shares)[:, None, None]
    return smooth + shares[:, None, None] * torch.eye(len(lams), dtype=lams.dtype)


def _rounding(table: Tensor) -> float:
    """The variance that rounding alone may give to scores of this size; never quite zero."""
    number = torch.finfo(table.dtype)
    error: float = _ROUNDINGS * number.eps * float(table.nan_to_num(0.0).abs().max())
    return error**2 + math.sqrt(number.tiny)


def _without_effects(table: Tensor) -> Tensor:
    """The scores without their images' means, which no comparison sees but rounding would."""
    return table - table.nanmean(dim=0)


def _rough_means(table: Tensor) -> tuple[Tensor, Tensor]:
    """A first estimate of J, and the scores without it and without their images' means.

    Both are taken out exactly by what follows; without them it would subtract large numbers.
    """
    start = _without_effects(table).nanmean(dim=1)
    return start, _without_effects(table - start[:, None])


def _likelihood(weights: Weights, freedom: int, floor: float) -> tuple[Tensor, Tensor]:
    """Restricted log likelihoods (N,) of the nodes, at their best s², and corrections (N, n)."""
    inverse, log_determinant = _pseudo_inverse(weights.precision)
    corrections = (inverse @ weights.weighted[..., None]).squeeze(-1)
    residual = (weights.squares - (weights.weighted * corrections).sum(dim=-1)).clamp_min(0)
    variances = residual / freedom + floor
    return -(freedom * variances.log() + weights.penalty + log_determinant) / 2, corrections


def _pseudo_inverse(precision: Tensor) -> tuple[Tensor, Tensor]:
    """Q⁺ (N, n, n) and log|Q| (N,) without the direction 1, in which Q is zero."""
    n = precision.shape[-1]
    size = precision.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    root = torch.linalg.cholesky(precision + size[:, None, None] / n)
    determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) - size.log()
    return torch.cholesky_inverse(root) - 1 / (n * size[:, None, None]), determinant


def _scatter(variance: float, correlation: Tensor, sums: Sums, images: int) -> Tensor:
    """S: the covariance of the images' deviations at all λs, averaged with the formula."""
    n = len(correlation)
    total = PRIOR_IMAGES * variance * correlation + sums.outer[0] + variance * sums.unseen[0]
    weight = PRIOR_IMAGES - 1.0 + images  # J was estimated from the same scores
    centre = torch.eye(n, dtype=total.dtype) - 1 / n
    return centre @ total @ centre / weight


def widening(images: int) -> float:
    """Return by how much to widen a variance that m ≥ 2 images give: 1.04 for 64, 42 for 2."""
    few, many = stdtrit([images - 1, math.inf], 0.975)
    return float((few / many) ** 2)


def _regular(scatter: Tensor) -> Tensor:
    """S, of unit size, with the direction 1 filled in, which no comparison sees."""
    n = len(scatter)
    return scatter + 1 / n + _RIDGE * torch.eye(n, dtype=scatter.dtype)


def comparison_covariance(scatter: Tensor, counts: Sequence[int]) -> Tensor:
    """The covariance of the contrasts, had each evaluation seen the beginning of one plan.

    Args:
        scatter: (n, n) S.
        counts: n numbers ≥ 1: evaluation j has seen the first counts[j] images.

    Returns:
        (n, n), as `Comparison.covariance`; for the counts that there are it is the same.
    """
    size = scatter.diagonal().mean()
    correlation, seen = _regular(scatter / size), torch.tensor(counts)
    precision, start = torch.zeros_like(scatter), 0
    for stop in sorted(set(counts)):
        rows = (seen >= stop).nonzero().squeeze(1)
        if len(rows) > 1:
            within = within_images(correlation[None, rows[:, None], rows])[0][0]
            precision[rows[:, None], rows] += (stop - start) * within
        start = stop
    covariance: Tensor = size * _pseudo_inverse(precision[None])[0][0]
    return covariance
