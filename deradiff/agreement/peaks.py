"""Which strength a reward likes best, from scratch and as an anchor emulates it.

| symbol  | code    | meaning                                                            |
|---------|---------|--------------------------------------------------------------------|
| β_1…β_n | `betas` | strengths of the family, ascending                                 |
| J(β_i)  | –       | mean score at β_i, over the images                                 |
| β̂       | `beta`  | vertex of the parabola in log β at the largest mean and its neighbours |

Means on a grid of β cannot say more than which of the β_i is best; the parabola interpolates
between them. A largest mean at the first or the last strength has no parabola: the best β may lie
beyond, and β̂ is that strength itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from deradiff.agreement.comparison import Array

_QUANTILES = (2.5, 97.5)
_RESAMPLES_PER_BLOCK = 500


@dataclass(frozen=True)
class Peak:
    """The best strength of one curve.

    Attributes:
        beta: β̂.
        lower: 2.5th percentile over bootstrap resamples of the images.
        upper: 97.5th percentile.
        at_edge: Whether β̂ is the family's first or last strength, and the best may lie beyond.
    """

    beta: float
    lower: float
    upper: float
    at_edge: bool


@dataclass(frozen=True)
class PeakShift:
    """The best strength as an anchor emulates it, against that of the from-scratch family.

    Attributes:
        emulated: The best strength of the emulated curve.
        ratio: Emulated β̂ over from-scratch β̂; 1 where they agree.
        lower: 2.5th percentile of the ratio over bootstrap resamples of the images, the same ones
            for both curves.
        upper: 97.5th percentile.
    """

    emulated: Peak
    ratio: float
    lower: float
    upper: float


def find_peak(
    betas: Sequence[float], scores: ArrayLike, *, generator: np.random.Generator, resamples: int
) -> Peak:
    """Return the best strength of a curve.

    Args:
        betas: n ≥ 3 strengths, finite and ascending.
        scores: (n, images) scores, NaN where missing.
        generator: Draws the bootstrap resamples of the images.
        resamples: Their number.

    Raises:
        ValueError: If the strengths are not as described, or a strength has no score at all.
    """
    x, values = _checked(betas, scores)
    best, drawn = _peaks(x, values, generator=generator, resamples=resamples)
    return _peak(x, best, drawn)


def compare_peaks(
    betas: Sequence[float],
    original: ArrayLike,
    approximated: ArrayLike,
    *,
    generator: np.random.Generator,
    resamples: int,
) -> PeakShift:
    """Return how far the best emulated strength is from the best from-scratch one.

    Args:
        betas: n ≥ 3 strengths, finite and ascending.
        original: (n, images) scores of the from-scratch family, NaN where missing.
        approximated: (n, images) scores of the same images from one realigned anchor.
        generator: Draws the bootstrap resamples of the images.
        resamples: Their number.

    Raises:
        ValueError: As `find_peak`, or if the two have other images.
    """
    x, originals = _checked(betas, original)
    _, approximations = _checked(betas, approximated)
    if originals.shape != approximations.shape:
        raise ValueError(f"scores of shapes {originals.shape} and {approximations.shape}")
    both = np.stack([originals, approximations])
    best, drawn = _peaks(x, both, generator=generator, resamples=resamples)
    lower, upper = np.percentile(drawn[:, 1] - drawn[:, 0], _QUANTILES)
    return PeakShift(
        emulated=_peak(x, best[1], drawn[:, 1]),
        ratio=float(np.exp(best[1] - best[0])),
        lower=float(np.exp(lower)),
        upper=float(np.exp(upper)),
    )


def _checked(betas: Sequence[float], scores: ArrayLike) -> tuple[Array, Array]:
    """Return log β and the scores."""
    strengths, values = np.asarray(betas, np.float64), np.asarray(scores, np.float64)
    ascending = np.isfinite(strengths).all() and (np.diff(strengths) > 0).all()
    if len(strengths) < 3 or not ascending or strengths[0] <= 0:
        raise ValueError(f"betas = {list(betas)}: expected at least three, ascending and finite")
    if values.ndim != 2 or len(values) != len(strengths):
        raise ValueError(f"scores of shape {values.shape}: expected a row per strength")
    if np.isnan(values).all(axis=1).any():
        raise ValueError("a strength has no score: leave it out")
    return np.log(strengths), values


def _peaks(
    x: Array, values: Array, *, generator: np.random.Generator, resamples: int
) -> tuple[Array, Array]:
    """Return log β̂ of (..., n, images) scores, shape (...), and of resamples, (resamples, ...)."""
    images = values.shape[-1]
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)

    def vertices(counts: Array) -> Array:
        totals = np.einsum("ri,...i->r...", counts, filled)
        weights = np.einsum("ri,...i->r...", counts, present.astype(np.float64))
        kept = (weights > 0).reshape(len(counts), -1).all(axis=1)  # no strength without an image
        return _vertices(x, totals[kept] / weights[kept])

    drawn = []
    for start in range(0, resamples, _RESAMPLES_PER_BLOCK):
        block = min(_RESAMPLES_PER_BLOCK, resamples - start)
        counts = generator.multinomial(images, np.full(images, 1 / images), size=block)
        drawn.append(vertices(counts.astype(np.float64)))
    return vertices(np.ones((1, images)))[0], np.concatenate(drawn)


def _vertices(x: Array, means: Array) -> Array:
    """Return the vertices of the parabolas through the tops of (..., n) means, shape (...)."""
    middle = means.argmax(axis=-1)
    inner = np.clip(middle, 1, len(x) - 2)
    x0, x1, x2 = x[inner - 1], x[inner], x[inner + 1]
    y0, y1, y2 = (
        np.take_along_axis(means, (inner + k)[..., None], axis=-1)[..., 0] for k in (-1, 0, 1)
    )
    left, right = (y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1)
    bend = np.where(right < left, right - left, -np.inf)  # equal means: the grid point itself
    vertex = (x0 + x1) / 2 - left * (x2 - x0) / (2 * bend)
    vertex = np.where(np.isinf(bend), x1, vertex)
    tops: Array = np.where(middle == inner, vertex, x[middle])
    return tops


def _peak(x: Array, best: Array, drawn: Array) -> Peak:
    lower, upper = np.percentile(drawn, _QUANTILES)
    edge = bool(np.isclose(best, x[[0, -1]]).any())
    return Peak(float(np.exp(best)), float(np.exp(lower)), float(np.exp(upper)), edge)
