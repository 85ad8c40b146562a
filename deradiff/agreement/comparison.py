"""One comparison: a model aligned from scratch at β_t against an anchor realigned to β_t.

| symbol  | code                | meaning                                                     |
|---------|---------------------|-------------------------------------------------------------|
| β_a     | `beta_anchor`       | strength at which the anchor was aligned                    |
| β_t     | `beta_target`       | strength at which the other model was aligned from scratch  |
| λ       | `lam`               | β_a/β_t, at which the anchor emulates that model            |
| x       | `original`          | mean score of the model aligned from scratch                |
| y       | `approximated`      | mean score of the anchor realigned to β_t                   |
| x_j, y_j| `original_scores`...| scores of image j (same prompt, same seed) under either     |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairedDifference:
    """The difference approximated − original over images with the same prompt and seed.

    Attributes:
        images: The number of images that have a score under both models.
        mean: Mean difference, in units of the reward.
        standard_error: Standard deviation of the differences (n − 1) over √images; None with
            fewer than two images.
        correlation: Pearson correlation of the two scores over images; None with fewer than two
            images, or where either model gives all of them the same score.
    """

    images: int
    mean: float
    standard_error: float | None
    correlation: float | None


@dataclass(frozen=True)
class Comparison:
    """Mean scores of one target strength, from scratch and emulated by one anchor.

    Attributes:
        beta_anchor: β_a > 0, finite.
        beta_target: β_t > 0; infinity stands for the reference.
        original: Mean score of the model aligned from scratch at β_t.
        approximated: Mean score of the anchor realigned to β_t.
        original_scores: One score per image, NaN where the image is missing; None if unknown.
        approximated_scores: The same images' scores from the realigned anchor.

    Raises:
        ValueError: If a strength is not positive, a mean is not finite, only one of the two lists
            of scores is given, they differ in length, no image has both scores, or a score is
            infinite.
    """

    beta_anchor: float
    beta_target: float
    original: float
    approximated: float
    original_scores: Sequence[float] | None = None
    approximated_scores: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not (0 < self.beta_anchor < math.inf and self.beta_target > 0):
            raise ValueError(f"{self._name}: expected 0 < beta_anchor < inf and beta_target > 0")
        for name in ("original", "approximated"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{self._name}: {name} = {getattr(self, name)} is not finite")
        if (self.original_scores is None) != (self.approximated_scores is None):
            raise ValueError(f"{self._name}: give the scores of both models or of neither")
        if self.original_scores is not None and self.approximated_scores is not None:
            _checked_scores(self._name, self.original_scores, self.approximated_scores)

    @classmethod
    def from_scores(
        cls, beta_anchor: float, beta_target: float, *, original: ArrayLike, approximated: ArrayLike
    ) -> Comparison:
        """Return a comparison whose means are over the images that both models have.

        Args:
            beta_anchor: β_a.
            beta_target: β_t.
            original: (images,) scores of the model aligned from scratch, NaN where missing.
            approximated: (images,) scores of the same images from the realigned anchor.

        Raises:
            ValueError: As the constructor does.
        """
        name = _name(beta_anchor, beta_target)
        originals, approximations, both = _checked_scores(name, original, approximated)
        return cls(
            beta_anchor,
            beta_target,
            float(originals[both].mean()),
            float(approximations[both].mean()),
            tuple(originals.tolist()),
            tuple(approximations.tolist()),
        )

    @property
    def lam(self) -> float:
        """Return λ = β_a/β_t; 0 where the target is the reference."""
        return emulating_lam(self.beta_anchor, self.beta_target)

    @property
    def difference(self) -> float:
        """Return approximated − original, in units of the reward."""
        return self.approximated - self.original

    @property
    def is_exact(self) -> bool:
        """Return whether the two models are one by construction: λ = 1 or λ = 0."""
        return self.lam in (0, 1)

    def paired_scores(self) -> tuple[Array, Array] | None:
        """Return the (images,) scores of both models, NaN where either is missing, or None."""
        if self.original_scores is None or self.approximated_scores is None:
            return None
        originals, approximations, both = _checked_scores(
            self._name, self.original_scores, self.approximated_scores
        )
        return np.where(both, originals, np.nan), np.where(both, approximations, np.nan)

    def paired_difference(self) -> PairedDifference | None:
        """Return the difference over images that have both scores; None without scores.

        Images under one prompt and seed resemble each other, so its standard error is smaller than
        that of either mean.
        """
        scores = self.paired_scores()
        if scores is None:
            return None
        original, approximated = (x[~np.isnan(x)] for x in scores)
        differences = approximated - original
        n = len(differences)
        error = float(differences.std(ddof=1) / math.sqrt(n)) if n > 1 else None
        varies = n > 1 and np.ptp(original) > 0 and np.ptp(approximated) > 0
        correlation = float(np.corrcoef(original, approximated)[0, 1]) if varies else None
        return PairedDifference(n, float(differences.mean()), error, correlation)

    @property
    def _name(self) -> str:
        return _name(self.beta_anchor, self.beta_target)


def emulating_lam(beta_anchor: float, beta_target: float) -> float:
    """Return λ = β_a/β_t, at which an anchor emulates a strength."""
    return beta_anchor / beta_target


def _name(beta_anchor: float, beta_target: float) -> str:
    return f"anchor {beta_anchor:g} to target {beta_target:g}"


def _checked_scores(
    name: str, original: ArrayLike, approximated: ArrayLike
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return both lists of scores as arrays, and which images have a score in both."""
    x, y = np.asarray(original, np.float64), np.asarray(approximated, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"{name}: scores of shapes {x.shape} and {y.shape}: expected one per image in both"
        )
    if np.isinf(x).any() or np.isinf(y).any():
        raise ValueError(f"{name}: a score is infinite: missing images are NaN")
    both = ~(np.isnan(x) | np.isnan(y))
    if not both.any():
        raise ValueError(f"{name}: no image has a score under both models")
    return x, y, both
