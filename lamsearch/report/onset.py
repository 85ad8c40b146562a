"""From which λ on the images leave the reference's range: an alarm for reward hacking.

Statistics of the images, and by how much the objective outruns each reward recorded beside it, are
curves over λ with surrogates of their own, paired over the images like the objective's. One has
left the reference's range where it differs from λ = 0 by more than the reference's images differ
from each other: of normal ones, fewer than one in six lies as far out as the mean image does then.

| symbol | code | meaning | shape |
|---|---|---|---|
| x_i(λ) | `rows` | a statistic of image i at an evaluated λ; NaN = not measured | n rows (m,) |
| X(λ) | | mean of x_i(λ) over all images that there could be | |
| σ | `spread` | standard deviation of x_i(0) over the images | number |
| d(λ) | `shift` | (X(λ) − X(0)) / σ | (k, g) |
| λ_on | `lam` | the smallest λ > 0 with abs(d(λ)) = 1 | number |

Intervals are those of posterior draws of X and σ. They hold for all K statistics together, each at
the level 1 − 0.05/K (Bonferroni), so that many statistics do not raise more false alarms.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamsearch.bayesopt.constraint import guard_surrogate
from lamsearch.study.history import score_rows, statistic_rows
from lamsearch.study.records import Evaluation

Rows = Sequence[NDArray[np.float64]]

LEAST_IMAGES = 8
"""With fewer, the spread of the reference's images is hardly known."""

_ALPHA = 0.05
_LEAST_SPREAD = 0.01
"""Smaller spreads are those of images that hardly differ, such as a dark share of 0 in each."""

_DRAWS, _POINTS = 2000, 65


@dataclass(frozen=True)
class Shift:
    """One statistic that leaves the reference's range.

    Attributes:
        name: Name of the statistic, or "… less …" for two rewards that part.
        lam: λ at which it leaves.
        interval: The interval of that λ, at 95 % for all statistics together.
        largest: Its shift at the largest λ, in standard deviations of the reference's images.
    """

    name: str
    lam: float
    interval: tuple[float, float]
    largest: float


@dataclass(frozen=True)
class Onset:
    """Where the images leave the reference's range.

    Attributes:
        lam: The smallest λ at which a statistic leaves it.
        interval: The interval of that λ, at 95 % for all statistics together.
        shifts: The statistics that leave it, the first one first.
        images: Number of images at λ = 0, whose spread is the range.
    """

    lam: float
    interval: tuple[float, float]
    shifts: tuple[Shift, ...]
    images: int


def find_onset(
    evaluations: Sequence[Evaluation], *, bounds: tuple[float, float], objective: str = "score"
) -> Onset | None:
    """Return the onset; None where no statistic leaves the reference's range, or none is known.

    Args:
        evaluations: Finished ones, λ = 0 among them: the reference.
        bounds: λ's range; only λs above 0 are looked at.
        objective: Name of the objective.
    """
    lams = [evaluation.lam for evaluation in evaluations]
    if 0.0 not in lams or bounds[1] <= 0:
        return None
    reference = lams.index(0.0)
    statistics = {name: rows for name, rows in _statistics(evaluations, reference) if _vary(rows)}
    rewards = {
        f"{objective} less {name}": rows
        for name, rows in _rewards_apart(evaluations, reference)
        if _vary(rows)
    }
    together = len(statistics) + len(rewards)
    found = [
        shift
        for name, rows in {**statistics, **rewards}.items()
        if (
            shift := find_shift(
                name, lams, rows, high=bounds[1], together=together, upward=name in rewards
            )
        )
    ]
    if not found:
        return None
    found.sort(key=lambda shift: shift.lam)
    images = len(_finite({**statistics, **rewards}[found[0].name][reference]))
    return Onset(found[0].lam, found[0].interval, tuple(found), images)


def find_shift(
    name: str,
    lams: Sequence[float],
    rows: Rows,
    *,
    high: float,
    together: int = 1,
    upward: bool = False,
) -> Shift | None:
    """Return where one statistic leaves the reference's range, None where it does not for sure.

    Args:
        name: Name of the statistic.
        lams: n evaluated λs, 0 among them.
        rows: The statistic of the images at each.
        high: Largest λ to look at, above 0.
        together: K, the number of statistics that are looked at together.
        upward: Whether only a rise counts.
    """
    reference = _finite(rows[lams.index(0.0)])
    if len(reference) < LEAST_IMAGES:
        return None
    surrogate = guard_surrogate(lams, rows, bounds=(min(0.0, *lams), max(high, *lams)))
    assert surrogate is not None
    line = torch.linspace(0, high, _POINTS, dtype=torch.float64)
    spread = max(float(reference.std(ddof=1)), _LEAST_SPREAD)
    means = surrogate.mean(line)
    shift = (means - means[0])[None] / spread
    curves = surrogate.draws(line, _DRAWS, generator=torch.Generator().manual_seed(0))
    drawn = (curves - curves[:, :1]) / (spread * _relative_spreads(len(reference)))
    sizes, drawn_sizes = (shift, drawn) if upward else (shift.abs(), drawn.abs())
    alpha = _ALPHA / together
    if (drawn_sizes > 1).double().mean(dim=0).max() < 1 - alpha:
        return None
    tails = torch.tensor([alpha / 2, 1 - alpha / 2], dtype=torch.float64)
    first, last = crossings(line, drawn_sizes).clamp_max(high).quantile(tails).tolist()
    lam = min(max(crossings(line, sizes).item(), first), last)
    return Shift(name, lam, (first, last), shift[0, -1].item())


def crossings(line: Tensor, sizes: Tensor) -> Tensor:
    """Return the smallest λs (k,) at which `sizes` reach 1, linear in between; ∞ for none.

    Args:
        line: (g,) λs from 0.
        sizes: (k, g) curves, 0 at the first λ.
    """
    beyond = sizes >= 1
    right = beyond.double().argmax(dim=1).clamp_min(1)
    above, below = (sizes.gather(1, at[:, None])[:, 0] for at in (right, right - 1))
    share = (1 - below) / (above - below)
    found = line[right - 1] + share * (line[right] - line[right - 1])
    return found.where(beyond.any(dim=1), torch.inf)


def _relative_spreads(images: int) -> Tensor:
    """Return draws (draws, 1) of the true spread over the estimated one, of normal images."""
    generator = np.random.default_rng(0)
    squares = generator.chisquare(images - 1, size=(_DRAWS, 1)) / (images - 1)
    return torch.from_numpy(squares).rsqrt()


def _statistics(evaluations: Sequence[Evaluation], reference: int) -> Iterator[tuple[str, Rows]]:
    for name in evaluations[reference].statistics:
        yield name, statistic_rows(evaluations, name)


def _rewards_apart(evaluations: Sequence[Evaluation], reference: int) -> Iterator[tuple[str, Rows]]:
    """Yield by how much the objective outruns each tracked reward, each in units of its spread."""
    scores = _standardized(score_rows(evaluations), reference)
    for name in evaluations[reference].tracked:
        others = _standardized(score_rows(evaluations, name), reference)
        if scores is not None and others is not None:
            yield name, [row - other for row, other in zip(scores, others, strict=True)]


def _standardized(rows: Rows, reference: int) -> Rows | None:
    """Return scores in units of their spread at λ = 0; None where that is 0 or unknown."""
    known = _finite(rows[reference])
    spread = float(known.std()) if len(known) else 0.0
    return [row / spread for row in rows] if spread > 0 else None


def _vary(rows: Rows) -> bool:
    """Return whether a statistic is not the same number everywhere, as dark pixels may be."""
    known = _finite(np.concatenate(rows))
    return len(known) > 0 and bool(np.ptp(known) > 0)


def _finite(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return row[np.isfinite(row)]
