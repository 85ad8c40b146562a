"""Scores per image → what the surrogate may know: means and how far to trust their differences.

A study draws the same images (prompt and seed) at every λ, so the scores are a two-way layout
with one score a cell:

    y_ij = J(λ_j) + a_i + e_ij

The image effect a_i is the same at every λ and cancels in comparisons; only e_ij, which is several
times smaller, stands between two λs.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | score of image i at λ_j | (n, m): one row a λ |
| ȳ_j | `values` | mean over the images, the paper's R̂ | (n,) |
| Var(e_ij)/m | `variances` | what counts for comparing λs; NaN = unknown | (n,) |
| Var(a_i)/m | `offset_variance` | variance of the offset common to all λs | number |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from numpy.typing import ArrayLike
from torch import Tensor

POOLING = 10
"""Degrees of freedom by which the variance of one λ leans on that of all λs."""

Block: TypeAlias = tuple[Tensor, Tensor, float]
"""Means and paired variances (k,) of evaluations on the same images; their offset's variance."""


@dataclass(frozen=True, eq=False)
class Observations:
    """The evaluated λs as the surrogate sees them; all tensors float64.

    Errors of different λs are taken as independent given the common offset: this is the diagonal
    of their covariance. (On a fixed image plan errors of neighbouring λs are alike; a full
    covariance (n, n) would take the place of `variances`, here and in the likelihood.)

    Attributes:
        lams: (n,) evaluated λs.
        values: (n,) mean score at each λ.
        variances: (n,) variance of each value without the common offset; NaN = unknown.
        offset_variance: Variance of the offset that all values share. It is part of the standard
            error of J(λ) but plays no part in any comparison of two λs.
    """

    lams: Tensor
    values: Tensor
    variances: Tensor
    offset_variance: float = 0.0

    def __post_init__(self) -> None:
        shapes = {tuple(t.shape) for t in (self.lams, self.values, self.variances)}
        if len(shapes) != 1 or len(self.lams.shape) != 1 or not len(self.lams):
            raise ValueError(f"lams, values, variances must share one shape (n ≥ 1,), got {shapes}")
        if any(t.dtype != torch.float64 for t in (self.lams, self.values, self.variances)):
            raise TypeError("lams, values and variances must be float64")
        if not (self.lams.isfinite().all() and self.values.isfinite().all()):
            raise ValueError("lams and values must be finite; leave failed evaluations out")
        if (self.variances < 0).any() or self.offset_variance < 0:
            raise ValueError("variances cannot be negative")


def observe(lams: Sequence[float], scores: Sequence[ArrayLike]) -> Observations:
    """Reduce the scores of all evaluations to `Observations`.

    Arrays of one length are paired by position: position i is the same image at every λ. If all
    evaluations are such arrays, `variances` are paired and the image effect is in
    `offset_variance`. An image missing at one λ is then left out at every λ, since a mean over
    other images is no comparison. Otherwise no offset is common to all:

    * arrays of other lengths are other images: each length is paired within itself, and each
      evaluation's variance contains its own offset (careful: too large within one length);
    * so are arrays that leave fewer than two images complete: each is then taken by itself;
    * a plain number or an array with a single score has unknown variance (NaN), which the
      surrogate infers, one for all.

    With one evaluation there is nothing to compare: all its variance is offset.

    Args:
        lams: n evaluated λs.
        scores: n evaluations, each a number or a 1-D array of per-image scores, NaN = missing.

    Returns:
        Observations of n λs, in the order given.

    Raises:
        ValueError: If the lengths differ, an evaluation has more than one dimension, has no score
            at all, or has an infinite score.
    """
    if len(lams) != len(scores):
        raise ValueError(f"{len(lams)} λs but {len(scores)} evaluations")
    rows = [_row(lam, score) for lam, score in zip(lams, scores, strict=True)]
    blocks = _blocks(rows)
    shared = len(blocks) == 1
    values, variances = torch.empty(2, len(rows), dtype=torch.float64)
    for index, (means, paired, offset) in blocks:
        values[index] = means
        variances[index] = paired if shared else paired + offset
    return Observations(
        lams=torch.tensor(lams, dtype=torch.float64),
        values=values,
        variances=variances,
        offset_variance=blocks[0][1][2] if shared else 0.0,
    )


def _row(lam: float, score: ArrayLike) -> Tensor:
    row = torch.as_tensor(score, dtype=torch.float64)
    if row.ndim > 1:
        raise ValueError(f"scores at λ={lam} have shape {tuple(row.shape)}, expected (images,)")
    if row.isinf().any():
        raise ValueError(f"an infinite score at λ={lam}; mark missing scores by NaN")
    if row.isnan().all():
        raise ValueError(f"no score at λ={lam}; leave this evaluation out")
    return row.reshape(-1)


def _blocks(rows: list[Tensor]) -> list[tuple[list[int], Block]]:
    """Group the evaluations whose images are the same, and reduce each group."""
    groups: dict[int, list[int]] = {}
    for j, row in enumerate(rows):
        groups.setdefault(len(row), []).append(j)
    blocks: list[tuple[list[int], Block]] = []
    for index in groups.values():
        table = torch.stack([rows[j] for j in index])
        complete = ~table.isnan().any(dim=0)
        if complete.sum() >= 2 or len(index) == table.shape[1] == 1:
            blocks.append((index, _two_way(table[:, complete])))
        else:
            blocks += [([j], _two_way(rows[j][~rows[j].isnan()][None])) for j in index]
    return blocks


def _two_way(table: Tensor) -> Block:
    """Means, paired variances and offset variance of a complete table (k, m).

    The pooled residual mean square is the textbook one, Σ r_ij² / ((k−1)(m−1)). The share of row j,
    k/(k−1) Σ_i r_ij² / (m−1), has the expectation ((k−2) σ_j² + mean σ²)/(k−1): unbiased when the
    σ_j are equal, never negative, and of the pooled value as its mean. With few images it leans on
    the pooled value, else a chance agreement of two or three scores would pass for certainty.
    """
    k, m = table.shape
    means = table.mean(dim=1)
    if m == 1:
        return means, torch.full_like(means, torch.nan), 0.0
    if k == 1:
        return means, torch.zeros_like(means), table.var().item() / m
    effects = table.mean(dim=0)
    squares = (table - means[:, None] - effects + effects.mean()).square()
    pooled = squares.sum() / ((k - 1) * (m - 1))
    own = squares.sum(dim=1) / (m - 1) * k / (k - 1)
    residual = (POOLING * pooled + (m - 1) * own) / (POOLING + m - 1)
    image_effect = (effects.var() - pooled / k).clamp_min(0)
    return means, residual / m, image_effect.item() / m
