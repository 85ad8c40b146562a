"""Generalised least squares over images that need not have been scored at every λ.

P is the same for all images, so none of them needs an n × n inverse of its own. Let "?" stand for
the rows of an image's missing scores and M = P_??. The precision of its scores is then
P − P_·? M⁻¹ P_?· (eq-schur), and this times its scores is P ŷ: in ŷ the missing scores are imputed
by their expectation given the present ones, −M⁻¹ (P y)_? for a y that is zero there (eq-imputed).
The errors of the imputed scores have the covariance s² M⁻¹. Where most scores are missing, as in a
rotating plan, it is cheaper to invert the block of the present ones (`normal_equations`).

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | score of image i at λ_j; NaN = missing | (n, m) |
| R | `correlation` | of one image's deviations at the evaluated λs | (N, n, n) |
| P | `within` | precision that is left without the image's effect a_i | (N, n, n) |
| M | `block` | P at the missing scores of one image | (N, p, s, s) |
| ŷ | `imputed` | scores, the missing ones imputed | (N, n, p·q) |
| Q | `precision` | of J at the evaluated λs, from all images; Q 1 = 0 | (N, n, n) |

N is the number of candidate correlations, p of patterns of missing scores, q of images per pattern.
Labels like eq-gls are those of the equations in docs/explanation/image-noise.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_CELLS = 2**15
"""Scores that are imputed in one step: more would leave the cache, fewer would take more steps."""


class MissingPattern(NamedTuple):
    """p patterns that lack s scores each, with q images per pattern.

    Attributes:
        missing: (p, s) rows of the missing scores.
        present: (p, n − s) the other rows.
        images: (p, q) columns of the table.
    """

    missing: Tensor
    present: Tensor
    images: Tensor

    @property
    def mostly_missing(self) -> bool:
        """Whether more scores are missing than present."""
        return self.missing.shape[1] > self.present.shape[1]


class NormalEquations(NamedTuple):
    """Q J = Σ P ŷ (eq-gls), and what the likelihood needs besides, for each of N correlations.

    Attributes:
        precision: (N, n, n) Q.
        right_side: (N, n) Σ P ŷ over the images.
        squares: (N,) Σ ŷᵀP ŷ.
        log_determinant: (N,) Σ (log|R| + log 1ᵀR⁻¹1), of each image's own evaluations.
    """

    precision: Tensor
    right_side: Tensor
    squares: Tensor
    log_determinant: Tensor


class Sums(NamedTuple):
    """Sums over all images, for each of N correlations.

    Attributes:
        equations: What an estimate of J needs.
        outer: (N, n, n) Σ ŷ ŷᵀ.
        imputation: (N, n, n) Σ M⁻¹, the covariance of the imputed scores in units of s².
    """

    equations: NormalEquations
    outer: Tensor
    imputation: Tensor


def missing_patterns(table: Tensor) -> list[MissingPattern]:
    """Group the images of a table (n, m) by the number of missing scores, to take few steps."""
    n = len(table)
    absent, which, counts = torch.unique(
        table.isnan().T, dim=0, return_inverse=True, return_counts=True
    )
    columns = which.argsort(stable=True).split(counts.tolist())
    kinds: dict[tuple[int, int], list[tuple[Tensor, Tensor, Tensor]]] = {}
    for rows, images in zip(absent, columns, strict=True):
        missing, present = rows.nonzero().squeeze(1), (~rows).nonzero().squeeze(1)
        for part in images.split(max(1, _CELLS // n)):
            kinds.setdefault((len(missing), len(part)), []).append((missing, present, part))
    return [
        MissingPattern(*(torch.stack(c) for c in zip(*patterns[k : k + step], strict=True)))
        for (absences, images), patterns in kinds.items()
        for step in [max(1, _CELLS // (n * images + absences**2))]
        for k in range(0, len(patterns), step)
    ]


def normal_equations(
    correlation: Tensor, table: Tensor, patterns: Sequence[MissingPattern]
) -> NormalEquations:
    """Return the `equations` of `sum_images`, faster where most scores are missing."""
    n, candidates = len(table), len(correlation)
    mostly_present = [pattern for pattern in patterns if not pattern.mostly_missing]
    total = sum_images(correlation, table, mostly_present).equations
    precision = total.precision.contiguous()
    blocks = precision.view(candidates, -1)
    for _, present, images in filter(lambda pattern: pattern.mostly_missing, patterns):
        places, shape = _block_places(present, n), (candidates, *present.shape)
        own = correlation.flatten(start_dim=1).index_select(1, places)
        within, log_determinant = within_precision(own.view(-1, shape[2], shape[2]))
        scores = table[present[:, :, None], images[:, None]]
        weighted = within.reshape(*shape, shape[2]) @ scores
        count = images.shape[1]
        # As in `sum_images`: symmetric, and stored by columns.
        blocks.index_add_(1, places, within.mT.reshape(candidates, -1), alpha=count)
        total.right_side.index_add_(1, present.flatten(), weighted.sum(dim=-1).flatten(start_dim=1))
        total.squares.add_((weighted * scores).sum(dim=(1, 2, 3)))
        total.log_determinant.add_(log_determinant.view(candidates, -1).sum(dim=-1), alpha=count)
    return total._replace(precision=precision)


def sum_images(correlation: Tensor, table: Tensor, patterns: Sequence[MissingPattern]) -> Sums:
    """Return the sums over the images in `patterns` of a table (n, m), for R (N, n, n)."""
    within, log_determinant = within_precision(correlation)
    outer, imputation = torch.zeros(2, *within.shape, dtype=within.dtype)
    blocks = imputation.view(len(within), -1)
    image_count = sum(pattern.images.numel() for pattern in patterns)
    total, log_determinants = torch.zeros_like(within[..., 0]), image_count * log_determinant
    for missing, _, images in patterns:
        imputed = table[:, images].nan_to_num(0.0)[None]
        if missing.shape[1]:
            imputed, covariance, log_determinant = _impute(within, imputed[0], missing)
            places, count = _block_places(missing, len(table)), images.shape[1]
            own = covariance.mT.flatten(start_dim=1)  # symmetric, and stored by columns: no copy
            blocks.index_add_(1, places, own, alpha=count)
            log_determinants += count * log_determinant
        outer += imputed.flatten(start_dim=2) @ imputed.flatten(start_dim=2).mT
        total += imputed.sum(dim=(-2, -1))
    equations = NormalEquations(
        precision=image_count * within - within @ imputation @ within,
        right_side=(within @ total[..., None]).squeeze(-1),
        squares=(within * outer).sum(dim=(-2, -1)),
        log_determinant=log_determinants,
    )
    return Sums(equations, outer, imputation)


def within_precision(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """Return P = R⁻¹ − R⁻¹11ᵀR⁻¹/1ᵀR⁻¹1 and log|R| + log 1ᵀR⁻¹1 (eq-within-precision).

    Args:
        correlation: (N, k, k) R.

    Returns:
        (N, k, k) and (N,).
    """
    root = torch.linalg.cholesky(correlation)
    inverse = torch.cholesky_inverse(root)
    sums = inverse.sum(dim=-1)
    total = sums.sum(dim=-1)
    log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) + total.log()
    return inverse - sums[:, :, None] * sums[:, None, :] / total[:, None, None], log_determinant


def pseudo_inverse(precision: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q⁺ (N, n, n) and log|Q| (N,) without the direction 1, in which Q is zero."""
    n = precision.shape[-1]
    size = precision.diagonal(dim1=-2, dim2=-1).mean(dim=-1)
    root = torch.linalg.cholesky(precision + size[:, None, None] / n)
    determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) - size.log()
    return torch.cholesky_inverse(root) - 1 / (n * size[:, None, None]), determinant


def _impute(within: Tensor, scores: Tensor, missing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ŷ (N, n, p, q), M⁻¹ (N, p, s, s) and Σ log|M| (N,) (eq-imputed, eq-determinant).

    Args:
        within: (N, n, n) P.
        scores: (n, p, q) scores, zero where missing.
        missing: (p, s) rows of the missing scores.
    """
    places = missing, torch.arange(len(missing))[:, None]
    shape = len(within), *missing.shape, missing.shape[1]
    flat_places = _block_places(missing, within.shape[-1])
    block = within.flatten(start_dim=1).index_select(1, flat_places).view(shape)
    root = torch.linalg.cholesky(block)
    covariance = torch.cholesky_inverse(root)
    weighted = (within @ scores.flatten(start_dim=1)).view(-1, *scores.shape)
    imputed = scores.repeat(len(within), 1, 1, 1)
    imputed[:, *places] = -(covariance @ weighted[:, *places])
    log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-2, -1))
    return imputed, covariance, log_determinant


def _block_places(rows: Tensor, n: int) -> Tensor:
    """Return where the blocks of `rows` (p, s) lie in a flattened (n, n) matrix.

    One flat index is far faster than an index per dimension.
    """
    return (n * rows[:, :, None] + rows[:, None, :]).flatten()
