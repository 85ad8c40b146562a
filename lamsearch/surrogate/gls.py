"""Sums over images that need not have been scored at every λ, as generalised least squares wants.

P is the same for all images, so none needs an n × n inverse of its own. With "?" for the rows of
an image's missing scores and M = P_??, its precision is P − P_·? M⁻¹ P_?·, and this times its
scores is P ŷ: in ŷ the missing scores are filled in with their expectation given the others,
−M⁻¹ (P y)_? for y that is 0 there. The covariance of what is filled in is s² M⁻¹. Where most scores
are missing, as on a rotating plan, what is there is less to invert (`weigh_images`).

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

_CELLS = 2**15
"""Scores that are filled in at once: more leave the cache, fewer take more steps."""


class Alike(NamedTuple):
    """p sets of q images; those of one set lack scores at the same s evaluations.

    Attributes:
        missing: (p, s) which evaluations.
        present: (p, n − s) the others.
        images: (p, q) the table's columns.
    """

    missing: Tensor
    present: Tensor
    images: Tensor

    @property
    def mostly_missing(self) -> bool:
        """Whether more scores are missing than present."""
        return self.missing.shape[1] > self.present.shape[1]


class Weights(NamedTuple):
    """Over all images, for each of N correlations.

    Attributes:
        precision: (N, n, n) Q.
        weighted: (N, n) Σ P ŷ.
        squares: (N,) Σ ŷᵀP ŷ.
        penalty: (N,) Σ (log|R| + log 1ᵀR⁻¹1), of each image's own evaluations.
    """

    precision: Tensor
    weighted: Tensor
    squares: Tensor
    penalty: Tensor


class Sums(NamedTuple):
    """Over all images, for each of N correlations.

    Attributes:
        weights: What an estimate of J needs.
        outer: (N, n, n) Σ ŷ ŷᵀ.
        unseen: (N, n, n) Σ M⁻¹: covariance of what is filled in, in units of s².
    """

    weights: Weights
    outer: Tensor
    unseen: Tensor


def sort_alike(table: Tensor) -> list[Alike]:
    """Sort the images by the number of missing scores, so that few steps fill in all of them."""
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
        Alike(*(torch.stack(column) for column in zip(*sets[k : k + step], strict=True)))
        for (absences, images), sets in kinds.items()
        for step in [max(1, _CELLS // (n * images + absences**2))]
        for k in range(0, len(sets), step)
    ]


def weigh_images(correlation: Tensor, table: Tensor, alike: Sequence[Alike]) -> Weights:
    """Return the `Sums.weights` of `sum_images`, faster where most scores are missing."""
    n, nodes = len(table), len(correlation)
    mostly_present = [each for each in alike if not each.mostly_missing]
    total = sum_images(correlation, table, mostly_present).weights
    precision = total.precision.contiguous()
    blocks = precision.view(nodes, -1)
    for _, present, images in filter(lambda each: each.mostly_missing, alike):
        places, shape = _flat(present, n), (nodes, *present.shape)
        own = correlation.flatten(start_dim=1).index_select(1, places)
        within, log_determinant = within_images(own.view(-1, shape[2], shape[2]))
        scores = table[present[:, :, None], images[:, None]]
        weighted = within.reshape(*shape, shape[2]) @ scores
        count = images.shape[1]
        # As in `sum_images`: symmetric, and stored by columns.
        blocks.index_add_(1, places, within.mT.reshape(nodes, -1), alpha=count)
        total.weighted.index_add_(1, present.flatten(), weighted.sum(dim=-1).flatten(start_dim=1))
        total.squares.add_((weighted * scores).sum(dim=(1, 2, 3)))
        total.penalty.add_(log_determinant.view(nodes, -1).sum(dim=-1), alpha=count)
    return total._replace(precision=precision)


def sum_images(correlation: Tensor, table: Tensor, alike: Sequence[Alike]) -> Sums:
    """Return the sums over the images `alike` of a table (n, m), for (N, n, n) R."""
    within, log_determinant = within_images(correlation)
    outer, unseen = torch.zeros(2, *within.shape, dtype=within.dtype)
    blocks = unseen.view(len(within), -1)
    images_in_all = sum(each.images.numel() for each in alike)
    total, penalty = torch.zeros_like(within[..., 0]), images_in_all * log_determinant
    for missing, _, images in alike:
        filled = table[:, images].nan_to_num(0.0)[None]
        if missing.shape[1]:
            filled, covariance, log_determinant = _filled(within, filled[0], missing)
            places, count = _flat(missing, len(table)), images.shape[1]
            own = covariance.mT.flatten(start_dim=1)  # symmetric, and stored by columns: no copy
            blocks.index_add_(1, places, own, alpha=count)
            penalty += count * log_determinant
        outer += filled.flatten(start_dim=2) @ filled.flatten(start_dim=2).mT
        total += filled.sum(dim=(-2, -1))
    weights = Weights(
        precision=images_in_all * within - within @ unseen @ within,
        weighted=(within @ total[..., None]).squeeze(-1),
        squares=(within * outer).sum(dim=(-2, -1)),
        penalty=penalty,
    )
    return Sums(weights, outer, unseen)


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
