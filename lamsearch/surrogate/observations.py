"""Scores per image → what the surrogate may know: means and the covariance of their errors.

A study draws images (prompt and seed) by a plan, the same ones or many of the same at every λ.
Comparisons are made within images (`image_noise`): what the images have in common at all λs,
several times larger than the differences between two λs, cancels. It stays in the level of J.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `scores` | score of image i at λ_j; NaN = none | n rows |
| R̂_j | `values` | mean score at λ_j; the paper's R̂ where all images are there | (n,) |
| Cov | `covariance` | of the values' errors, without the offset; NaN diagonal = unknown | (n, n) |
| Var(a_i)/m | `offset_variance` | of the offset common to all values | number |
| Cov(a_i, d_i)/m | `offset_covariance` | of the offset with the values' other errors | (n,) |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lamsearch.surrogate.image_noise import PRIOR_IMAGES, Deviations, compare, widening


@dataclass(frozen=True, eq=False)
class Observations:
    """The evaluated λs as the surrogate sees them; all tensors float64.

    Attributes:
        lams: (n,) evaluated λs.
        values: (n,) mean score at each λ.
        covariance: (n, n) of the values' errors without the common offset, widened where few images
            tell of it. NaN on the diagonal marks a value whose variance is unknown and its errors
            independent.
        working: (n,) variances that would make the differences of the values as uncertain as they
            are on average, if their errors were independent; NaN = unknown.
        offset_covariance: (n,) of the values' errors with the offset that all values share: images
            that score high may be those that lose most with λ.
        offset_variance: Variance of that offset. Both are part of the standard error of J(λ) but
            play no part in any comparison of two λs.
        deviations: Of single images, where all values come from images that can be compared.
        images: Images in one evaluation, on average.
    """

    lams: Tensor
    values: Tensor
    covariance: Tensor
    working: Tensor
    offset_covariance: Tensor
    offset_variance: float = 0.0
    deviations: Deviations | None = None
    images: float = 1.0

    def __post_init__(self) -> None:
        n = len(self.lams) if self.lams.ndim == 1 else 0
        vectors = (self.lams, self.values, self.working, self.offset_covariance)
        tensors = (*vectors, self.covariance)
        shapes = [tuple(t.shape) for t in tensors]
        if not n or shapes != [*[(n,)] * len(vectors), (n, n)]:
            expected = "lams, values, working, offset_covariance (n ≥ 1,) and covariance (n, n)"
            raise ValueError(f"{expected} expected, got {shapes}")
        if any(t.dtype != torch.float64 for t in tensors):
            raise TypeError("all tensors must be float64")
        if not (self.lams.isfinite().all() and self.values.isfinite().all()):
            raise ValueError("lams and values must be finite; leave failed evaluations out")
        if (self.variances < 0).any() or (self.working < 0).any() or self.offset_variance < 0:
            raise ValueError("variances cannot be negative")

    @classmethod
    def independent(
        cls, lams: Tensor, values: Tensor, variances: Tensor, offset_variance: float = 0.0
    ) -> Observations:
        """Return observations whose errors are independent, of known variances (n,) or NaN."""
        nothing = torch.zeros_like(lams)
        return cls(lams, values, variances.diag(), variances, nothing, offset_variance)

    @property
    def variances(self) -> Tensor:
        """Variance (n,) of each value without the common offset; NaN = unknown."""
        return self.covariance.diagonal()

    def next_error(self, lams: Tensor) -> tuple[Tensor, Tensor]:
        """The error of one more evaluation, as a combination of those of the values and a rest.

        Exact where all evaluations have the same images, and so has the next; else as if the next
        one's images were any of those seen before.

        Args:
            lams: (g,) candidates.

        Returns:
            Coefficients (n, g) of the values' errors, and variances (g,) of the whole; NaN =
            unknown.
        """
        if self.deviations is None:
            alone = len(self.lams) == 1 and not self.working.isnan().any()
            known = self.offset_variance if alone else self.working.mean()
            return lams.new_zeros(len(self.lams), len(lams)), torch.ones_like(lams) * known
        coefficients, remaining = self.deviations.regression(lams)
        explained = (coefficients * (self.deviations.scatter @ coefficients)).sum(dim=0)
        return coefficients, (explained + remaining) / self.images


def observe(lams: Sequence[float], scores: Sequence[ArrayLike]) -> Observations:
    """Reduce the scores of all evaluations to `Observations`.

    Arrays of one length are paired by position: position i is the same image at every λ. An
    image need not have a score at every λ; it then tells of the λs at which it has. Evaluations
    that share no image, not even through others, can be compared by their means only, and each
    group of them carries its own offset:

    * arrays of other lengths are other images;
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
    at = torch.tensor(lams, dtype=torch.float64)
    groups = list(_groups(at, rows))
    if len(groups) == 1:
        return groups[0][1]
    values, working = torch.empty_like(at), torch.empty_like(at)
    covariance = torch.zeros(len(at), len(at), dtype=torch.float64)
    for index, group in groups:
        values[index] = group.values
        working[index] = group.working + group.offset_variance
        offset = group.offset_covariance[:, None] + group.offset_covariance + group.offset_variance
        covariance[index[:, None], index] = group.covariance + offset
    return Observations(at, values, covariance, working, torch.zeros_like(at))


def _row(lam: float, score: ArrayLike) -> Tensor:
    row = torch.as_tensor(score, dtype=torch.float64)
    if row.ndim > 1:
        raise ValueError(f"scores at λ={lam} have shape {tuple(row.shape)}, expected (images,)")
    if row.isinf().any():
        raise ValueError(f"an infinite score at λ={lam}; mark missing scores by NaN")
    if row.isnan().all():
        raise ValueError(f"no score at λ={lam}; leave this evaluation out")
    return row.reshape(-1)


def _groups(lams: Tensor, rows: list[Tensor]) -> Iterator[tuple[Tensor, Observations]]:
    """Yield the observations of each group of evaluations that images connect, and its rows."""
    lengths = [len(row) for row in rows]
    for length in sorted(set(lengths)):
        same = torch.tensor([j for j, other in enumerate(lengths) if other == length])
        table = torch.stack([rows[j] for j in same.tolist()])
        for members in _connected(~table.isnan()):
            yield same[members], _group(lams[same[members]], table[members])


def _connected(present: Tensor) -> Iterator[Tensor]:
    """Yield the rows (k,) of each connected part of the table `present` (n, m)."""
    shared = present.double() @ present.T.double() > 0
    left = torch.ones(len(present), dtype=torch.bool)
    while left.any():
        reached = torch.zeros_like(left)
        reached[left.nonzero()[0]] = True
        for _ in range(len(left)):
            reached = shared[reached].any(dim=0)
        yield reached.nonzero().squeeze(1)
        left &= ~reached


def _group(lams: Tensor, table: Tensor) -> Observations:
    """Observations of evaluations (k, m) that images connect."""
    table = table[:, ~table.isnan().all(dim=0)]
    comparison = compare(lams, table) if len(lams) > 1 else None
    if comparison is None:
        return _incomparable(lams, table)
    level, offset_variance, offset_covariance = _level(
        table - comparison.contrasts[:, None], comparison.covariance.diagonal()
    )
    present = ~table.isnan()
    images = (present & (present.sum(dim=0) > 1)).sum(dim=1).double()  # others compare nothing
    differences = comparison.covariance.trace() / (len(lams) - 1)
    return Observations(
        lams=lams,
        values=level + comparison.contrasts,
        covariance=comparison.covariance,
        working=differences * images.reciprocal() / images.reciprocal().mean(),
        offset_covariance=offset_covariance,
        offset_variance=offset_variance,
        deviations=comparison.deviations,
        images=images.mean().item(),
    )


def _incomparable(lams: Tensor, table: Tensor) -> Observations:
    """Observations of one evaluation, or of some that have a single image in common."""
    if len(lams) == 1 and table.shape[1] > 1:
        nothing = torch.zeros_like(lams)
        level, offset_variance, _ = _level(table, nothing)
        return Observations.independent(lams, level.expand(1), nothing, offset_variance)
    unknown = torch.full_like(lams, torch.nan)
    return Observations.independent(lams, table.nanmean(dim=1), unknown)


def _level(table: Tensor, variances: Tensor) -> tuple[Tensor, float, Tensor]:
    """Mean over the images of what they have in common at all λs, and how sure it is.

    Args:
        table: (k, m) scores less the differences of J, NaN = missing.
        variances: (k,) of the errors of these differences.

    Returns:
        The mean, its variance, and its covariances (k,) with these errors; estimated and widened
        as the errors' own covariance is.
    """
    effects = table.nanmean(dim=0)
    level, images = effects.mean(), len(effects)
    if images < 2:
        return level, 0.0, torch.zeros_like(variances)
    wider = widening(images) / images
    variance = wider * effects.var().item()
    seen = (~table.isnan()).sum(dim=1)
    weight = PRIOR_IMAGES - 1 + seen
    covariance = wider * ((table - effects) * (effects - level)).nansum(dim=1) / weight
    covariance -= covariance.mean()
    # So it is without holes; with them it must not make the variance of a level negative.
    most = ((seen - 1) / weight * variances * variance).sqrt()
    return level, variance, covariance.clamp(-most, most)
