"""Sums over images that need not have been scored at every λ, as generalised least squares wants.

P is the same for all images, so none needs an n × n inverse of its own. With "?" for the rows of
an image's missing scores and M = P_??, its precision is P − P_·? M⁻¹ P_?·, and this times its
scores is P ŷ: in ŷ the missing scores are filled in with their expectation given the others,
−M⁻¹ (P y)_? for y that is 0 there. The covariance of what is filled in is s² M⁻¹.

| symbol | code | meaning | shape |
|---|---|---|---|
| y_ij | `table` | scores; NaN = missing | (n, m) |
| R | `correlation` | of the deviations at the evaluated λs | (N, n, n) |
| P | `within` | R⁻¹ − R⁻¹11ᵀR⁻¹/1ᵀR⁻¹1: the precision that is left without a_i | (N, n, n) |
| M | `block` | P at one image's missing scores | (N, p, s, s) |
| ŷ | `filled` | scores, the missing ones filled in | (N, n, p·q) |
| Q | `precision` | of J at the evaluated λs, from all images; Q 1 = 0 | (N, n, n) |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_CELLS = 2**17
"""Scores that are filled in at once; more take more memory, fewer more steps."""


class Alike(NamedTuple):
    """p sets of q images; those of one set lack scores at the same s evaluations.

    Attributes:
        missing: (p, s) which evaluations.
        images: (p, q) the table's columns.
    """

    missing: Tensor
    images: Tensor


class Sums(NamedTuple):
    """Over all images, for each of N correlations.

    Attributes:
        precision: (N, n, n) Q.
        weighted: (N, n) Σ P ŷ.
        squares: (N,) Σ ŷᵀP ŷ.
        penalty: (N,) Σ (log|R| + log 1ᵀR⁻¹1), of each image's own evaluations.
        outer: (N, n, n) Σ ŷ ŷᵀ.
        unseen: (N, n, n) Σ M⁻¹: covariance of what is filled in, in units of s².
    """

    precision: Tensor
    weighted: Tensor
    squares: Tensor
    penalty: Tensor
    outer: Tensor
    unseen: Tensor


def sort_alike(table: Tensor) -> list[Alike]:
    """Sort the images by the number of missing scores, so that few steps fill in all of them."""
    n = len(table)
    absent, which, counts = torch.unique(
        table.isnan().T, dim=0, return_inverse=True, return_counts=True
    )
    columns = which.argsort(stable=True).split(counts.tolist())
    kinds: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
    for rows, images in zip(absent, columns, strict=True):
        missing = rows.nonzero().squeeze(1)
        for part in images.split(max(1, _CELLS // n)):
            kinds.setdefault((len(missing), len(part)), []).append((missing, part))
    return [
        Alike(*(torch.stack(column) for column in zip(*sets[k : k + step], strict=True)))
        for (absences, images), sets in kinds.items()
        for step in [max(1, _CELLS // (n * images + absences**2))]
        for k in range(0, len(sets), step)
    ]


def sum_images(correlation: Tensor, table: Tensor, alike: Sequence[Alike]) -> Sums:
    """Return the sums over all images of a table (n, m) sorted as `alike`, for (N, n, n) R."""
    within, log_determinant = within_images(correlation)
    outer, unseen = torch.zeros(2, *within.shape, dtype=within.dtype)
    blocks = unseen.view(len(within), -1)
    total, penalty = torch.zeros_like(within[..., 0]), table.shape[1] * log_determinant
    for missing, images in alike:
        filled = table[:, images].nan_to_num(0.0)[None]
        if missing.shape[1]:
            filled, covariance, log_determinant = _filled(within, filled[0], missing)
            places, count = _flat(missing, len(table)), images.shape[1]
            own = covariance.mT.flatten(start_dim=1)  # symmetric, and stored by columns: no copy
            blocks.index_add_(1, places, own, alpha=count)
            penalty += count * log_determinant
        outer += filled.flatten(start_dim=2) @ filled.flatten(start_dim=2).mT
        total += filled.sum(dim=(-2, -1))
    return Sums(
        precision=table.shape[1] * within - within @ unseen @ within,
        weighted=(within @ total[..., None]).squeeze(-1),
        squares=(within * outer).sum(dim=(-2, -1)),
        penalty=penalty,
        outer=outer,
        unseen=unseen,
    )


def _filled(within: Tensor, scores: Tensor, missing: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """ŷ (N, n, p, q), M⁻¹ (N, p, s, s) and Σ log|M| (N,) for scores (n, p, q) with 0 if missing."""
    places = missing, torch.arange(len(missing))[:, None]
    shape = len(within), *missing.shape, missing.shape[1]
    block = (
        within.flatten(start_dim=1).index_select(1, _flat(missing, within.shape[-1])).view(shape)
    )
    root = torch.linalg.cholesky(block)
    covariance = torch.cholesky_inverse(root)
    weighted = (within @ scores.flatten(start_dim=1)).view(-1, *scores.shape)
    filled = scores.repeat(len(within), 1, 1, 1)
    filled[:, *places] = -(covariance @ weighted[:, *places])
    log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=(-2, -1))
    return filled, covariance, log_determinant


def within_images(correlation: Tensor) -> tuple[Tensor, Tensor]:
    """P (N, k, k) and log|R| + log 1ᵀR⁻¹1 (N,) for correlations (N, k, k)."""
    root = torch.linalg.cholesky(correlation)
    inverse = torch.cholesky_inverse(root)
    sums = inverse.sum(dim=-1)
    total = sums.sum(dim=-1)
    log_determinant = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1) + total.log()
    return inverse - sums[:, :, None] * sums[:, None, :] / total[:, None, None], log_determinant


def _flat(missing: Tensor, n: int) -> Tensor:
    """Where the blocks (p, s, s) lie in a flattened (n, n): far faster than indices of each."""
    return (n * missing[:, :, None] + missing[:, None, :]).flatten()
