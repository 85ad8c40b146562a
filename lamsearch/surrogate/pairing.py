"""Scores per image → `Observations`: evaluations are compared image by image.

A study draws its images (prompt and seed) by a plan: the same images, or many of the same, at every
λ. Comparisons are made within images (`comparison`), where the effects a_i cancel. What is left of
these is the level of J, common to all evaluations that images connect.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | score of image i at λ_j; NaN = missing | (k, m) |
| δ̂_j | `contrasts` | estimated J(λ_j), less its mean over the evaluations | (k,) |
| â_i | `effects` | mean of image i's scores less δ̂ | (m,) |
| μ̂ | `level` | mean of â_i | number |
| v, c_j | `variance`, `covariance` | of the error of μ̂; with the errors of δ̂_j | number, (k,) |

Labels like eq-level are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from lamsearch.surrogate.comparison import PRIOR_IMAGES, compare
from lamsearch.surrogate.image_noise import student_inflation
from lamsearch.surrogate.observations import Observations


def observe(lams: Sequence[float], scores: Sequence[ArrayLike]) -> Observations:
    """Reduce the scores of all evaluations to `Observations`.

    Arrays of the same length are paired by position: position i is the same image at every λ. An
    image need not have a score at every λ; it then compares those at which it has one. Evaluations
    that share no image, not even through others, can be compared by their means only, and each
    group of connected evaluations has an offset of its own:

    * arrays of different lengths hold different images;
    * a plain number or an array with a single score has unknown variance (NaN), which the
      surrogate infers, one for all.

    With one evaluation there is nothing to compare: all its variance is offset.

    Args:
        lams: n evaluated λs.
        scores: n evaluations, each a number or a 1-D array of per-image scores, NaN = missing.

    Returns:
        Observations of n λs, in the order given.

    Raises:
        ValueError: If the lengths differ, or an evaluation has more than one dimension, no score at
            all, or an infinite score.
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
        working[index] = group.working_variances + group.offset_variance
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
    """Yield the indices and the observations of each group of evaluations that images connect."""
    lengths = [len(row) for row in rows]
    for length in sorted(set(lengths)):
        same = torch.tensor([j for j, other in enumerate(lengths) if other == length])
        table = torch.stack([rows[j] for j in same.tolist()])
        for group in _connected(~table.isnan()):
            yield same[group], _observe_connected(lams[same[group]], table[group])


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


def _observe_connected(lams: Tensor, table: Tensor) -> Observations:
    """Return the observations of evaluations (k, m) that images connect (eq-values)."""
    table = table[:, ~table.isnan().all(dim=0)]
    comparison = compare(lams, table) if len(lams) > 1 else None
    if comparison is None:
        return _observe_incomparable(lams, table)
    level, offset_variance, offset_covariance = _level(
        table - comparison.contrasts[:, None], comparison.covariance.diagonal()
    )
    present = ~table.isnan()
    images = (present & (present.sum(dim=0) > 1)).sum(dim=1).double()  # others compare nothing
    mean_variance = comparison.covariance.trace() / (len(lams) - 1)
    return Observations(
        lams=lams,
        values=level + comparison.contrasts,
        covariance=comparison.covariance,
        working_variances=mean_variance * images.reciprocal() / images.reciprocal().mean(),
        offset_covariance=offset_covariance,
        offset_variance=offset_variance,
        image_noise=comparison.image_noise,
        mean_images=images.mean().item(),
    )


def _observe_incomparable(lams: Tensor, table: Tensor) -> Observations:
    """Return the observations of one evaluation, or of some that have a single image in common."""
    if len(lams) == 1 and table.shape[1] > 1:
        nothing = torch.zeros_like(lams)
        level, offset_variance, _ = _level(table, nothing)
        return Observations.independent(lams, level.expand(1), nothing, offset_variance)
    unknown = torch.full_like(lams, torch.nan)
    return Observations.independent(lams, table.nanmean(dim=1), unknown)


def _level(table: Tensor, variances: Tensor) -> tuple[Tensor, float, Tensor]:
    """Estimate the level of J, and how certain it is (eq-level).

    Args:
        table: (k, m) scores less the contrasts of J, NaN = missing.
        variances: (k,) of the errors of these contrasts.

    Returns:
        μ̂, v and c (k,), estimated and inflated like the covariance of the contrasts.
    """
    effects = table.nanmean(dim=0)
    level, images = effects.mean(), len(effects)
    if images < 2:
        return level, 0.0, torch.zeros_like(variances)
    inflation = student_inflation(images) / images
    variance = inflation * effects.var().item()
    seen = (~table.isnan()).sum(dim=1)
    denominator = PRIOR_IMAGES - 1 + seen
    covariance = inflation * ((table - effects) * (effects - level)).nansum(dim=1) / denominator
    covariance -= covariance.mean()
    # Where scores are missing, v and c come from different images: keep c within their bound, so
    # that no variance of a level turns negative. Without missing scores c satisfies it anyway.
    bound = ((seen - 1) / denominator * variances * variance).sqrt()
    return level, variance, covariance.clamp(-bound, bound)
