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

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `Pattern.scores` | scores of images that were seen at the same λs | (k, m) |
| r | `correlation` | of the deviations at the evaluated λs | (N, n, n) |
| P_p | `within` | R⁻¹ − R⁻¹11ᵀR⁻¹/1ᵀR⁻¹1: the precision that is left without a_i | (N, k, k) |
| Q | `precision` | Σ m_p P_p: of J at the evaluated λs; Q 1 = 0 | (N, n, n) |
| S | `scatter` | covariance of one image's deviations less their mean; S 1 = 0 | (n, n) |
| G | `gain` | regression of the deviations on a pattern's scores | (n, k) |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

SMOOTHNESS = torch.tensor([0.1, 0.17, 0.3, 0.55, 1.0, 2.0], dtype=torch.float64)
"""Grid of ℓ, in units of the evaluated λs' span."""

SHARES = torch.tensor([0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0], dtype=torch.float64)
"""Grid of e."""

_RIDGE = 1e-9
"""Least eigenvalue of S of unit size: rounding must not make it negative."""

PRIOR_IMAGES = 10
"""The formula weighs as much as the covariance of so many images."""


class Pattern(NamedTuple):
    """Images that were scored at the same evaluations.

    Attributes:
        rows: (k,) which evaluations, k ≥ 2.
        scores: (k, m) their scores.
    """

    rows: Tensor
    scores: Tensor


@dataclass(frozen=True, eq=False)
class Deviations:
    """Of single images, at the evaluated λs and between them.

    Attributes:
        lams: (n,) evaluated λs.
        scatter: (n, n) covariance of one image's deviations, each image's mean taken out.
        variance: s² ≥ 0, in the units of the scores squared.
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
        coefficients = _within(correlation[None])[0][0] @ centred
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


def compare(lams: Tensor, patterns: Sequence[Pattern]) -> Comparison | None:
    """Estimate the differences of J between n ≥ 2 evaluations.

    Args:
        lams: (n,) evaluated λs.
        patterns: Images by the evaluations they were seen at; together they connect all n.

    Returns:
        None where the scores leave no degree of freedom to estimate their noise.
    """
    n = len(lams)
    freedom = sum((len(p.rows) - 1) * p.scores.shape[1] for p in patterns) - (n - 1)
    if freedom < 1:
        return None
    start, patterns = _rough_means(n, patterns)
    lengthscales, shares = _nodes((lams.max() - lams.min()).item() or 1.0)
    correlation = _correlation(lams, lengthscales, shares)
    likelihood, variances, corrections = _likelihood(correlation, patterns, freedom)
    best = int(likelihood.argmax())
    variance = variances[best].item()
    patterns = [Pattern(p.rows, p.scores - corrections[best, p.rows, None]) for p in patterns]
    scatter = _scatter(variance, correlation[best], patterns)
    size = scatter.diagonal().mean()
    precision, weighted, *_ = _sums(_regular(scatter / size)[None], patterns)
    inverse = _pseudo_inverse(precision)[0][0]
    estimate = start + corrections[best] + inverse @ weighted[0]
    return Comparison(
        contrasts=estimate - estimate.mean(),
        covariance=size * inverse,
        deviations=Deviations(
            lams, scatter, variance, lengthscales[best].item(), shares[best].item()
        ),
    )


def _nodes(span: float) -> tuple[Tensor, Tensor]:
    """All N pairs (ℓ, e)."""
    lengthscales, shares = torch.meshgrid(span * SMOOTHNESS, SHARES, indexing="ij")
    return lengthscales.flatten(), shares.flatten()


def _correlation(lams: Tensor, lengthscales: Tensor, shares: Tensor) -> Tensor:
    squares = (lams[:, None] - lams).square() / lengthscales[:, None, None].square()
    smooth = torch.exp(-squares / 2) * (1 - shares)[:, None, None]
    return smooth + shares[:, None, None] * torch.eye(len(lams), dtype=lams.dtype)


def _rough_means(n: int, patterns: Sequence[Pattern]) -> tuple[Tensor, list[Pattern]]:
    """A first estimate of J, and the scores without it and without their images' means.

    Both are taken out exactly by what follows; without them it would subtract large numbers.
    """
    totals, counts = torch.zeros(2, n, dtype=torch.float64)
    without_effect = [Pattern(p.rows, p.scores - p.scores.mean(dim=0)) for p in patterns]
    for pattern in without_effect:
        totals[pattern.rows] += pattern.scores.sum(dim=1)
        counts[pattern.rows] += pattern.scores.shape[1]
    start = totals / counts
    return start, [Pattern(p.rows, p.scores - start[p.rows, None]) for p in without_effect]


def _likelihood(
    correlation: Tensor, patterns: Sequence[Pattern], freedom: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Restricted log likelihoods (N,) of the nodes, their best s² (N,) and corrections (N, n)."""
    precision, weighted, squares, penalty = _sums(correlation, patterns)
    inverse, log_determinant = _pseudo_inverse(precision)
    corrections = (inverse @ weighted[..., None]).squeeze(-1)
    residual = (squares - (weighted * corrections).sum(dim=-1)).clamp_min(0)
    # Scores that agree to rounding have no noise to speak of, and then all nodes are as good.
    tiny = torch.finfo(residual.dtype).tiny ** 0.5
    variances = residual / freedom + tiny
    return -(freedom * variances.log() + penalty + log_determinant) / 2, variances, corrections


def _sums(
    correlation: Tensor, patterns: Sequence[Pattern]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Q, Σ P y, Σ yᵀP y and Σ (log|R| + log 1ᵀR⁻¹1) over all images, for each node."""
    precision, weighted = torch.zeros_like(correlation), torch.zeros_like(correlation[..., 0])
    squares, penalty = torch.zeros(2, len(correlation), dtype=correlation.dtype)
    for rows, scores in patterns:
        within, log_determinant = _within(correlation[:, rows[:, None], rows])
        images = scores.shape[1]
        precision[:, rows[:, None], rows] += images * within
        weighted[:, rows] += within @ scores.sum(dim=1)
        squares += (within * (scores @ scores.T)).sum(dim=(-2, -1))
        penalty += images * log_determinant
    return precision, weighted, squares, penalty


def _within(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """P (N, k, k) and log|R| + log 1ᵀR⁻¹1 (N,) for correlations (N, k, k)."""
    root = torch.linalg.cholesky(correlation)
    inverse = torch.cholesky_inverse(root)
    sums = inverse.sum(dim=-1)
    total = sums.sum(dim=-1)
    log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) + total.log()
    return inverse - sums[:, :, None] * sums[:, None, :] / total[:, None, None], log_determinant


def _pseudo_inverse(precision: Tensor) -> tuple[Tensor, Tensor]:
    """Q⁺ (N, n, n) and log|Q| (N,) without the direction 1, in which Q is zero."""
    n = precision.shape[-1]
    size = precision.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    root = torch.linalg.cholesky(precision + size[:, None, None] / n)
    determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) - size.log()
    return torch.cholesky_inverse(root) - 1 / (n * size[:, None, None]), determinant


def _scatter(variance: float, correlation: Tensor, patterns: Sequence[Pattern]) -> Tensor:
    """S: what each image's scores say of its deviations at all λs, averaged with the formula."""
    n = len(correlation)
    total = PRIOR_IMAGES * variance * correlation
    weight = PRIOR_IMAGES - 1.0  # J was estimated from the same scores
    for rows, scores in patterns:
        within = _within(correlation[None, rows[:, None], rows])[0][0]
        gain = correlation[:, rows] @ within
        squares = gain @ (scores @ scores.T) @ gain.T
        unseen = correlation - gain @ correlation[rows]
        total += squares + scores.shape[1] * variance * unseen
        weight += scores.shape[1]
    centre = torch.eye(n, dtype=total.dtype) - 1 / n
    return centre @ total @ centre / weight


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
            within = _within(correlation[None, rows[:, None], rows])[0][0]
            precision[rows[:, None], rows] += (stop - start) * within
        start = stop
    covariance: Tensor = size * _pseudo_inverse(precision[None])[0][0]
    return covariance
