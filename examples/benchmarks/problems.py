"""Problems of the search benchmark: curves J(λ) on [0, 1] with range 1, and their noisy scores.

| symbol | code | meaning |
|---|---|---|
| J(λ) | `curve` | the truth, 0 at its worst and 1 at its best λ |
| y_ij | `scores` | score of image i at the j-th evaluation, λ_j |
| s | `stderr` | standard error of an evaluation of the first 64 images, in units of J's range |
| a_i | first column of `image` | image effect, the same at every λ |
| g_i(λ) | the other columns | smooth deviation of image i from J(λ) + a_i |
| e_ij | `own` | what is left, independent |

Independent noise: y_ij = J(λ_j) + e_ij, drawn anew for each evaluation. On a plan of images:
y_ij = J(λ_j) + a_i + g_i(λ_j) + e_ij, drawn once for each image and λ. Both are functions of the
seed and of the evaluation's number or λ, so all methods meet the same luck.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from zlib import crc32

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from examples.benchmarks.curves import (
    CALIBRATION_FAMILIES,
    FAMILIES,
    FIRST_WORLD_SCORES,
    LINE,
    Array,
    Curve,
    gp_basis,
    stored_scores,
)

IMAGES = 64

# Shares of the variance of one image's score. On the bundled world the image effect has about
# 0.77 and the smooth deviation 0.23; other scorers and models leave an independent part as well.
IMAGE_SHARE, SMOOTH_SHARE, OWN_SHARE = 0.8, 0.1, 0.1
SMOOTH_LENGTHSCALE = 0.5

_BLOCK = 64
_CURVE, _IMAGE, _OWN = range(3)


@lru_cache
def _miniature_splines() -> CubicSpline:
    """Return λ → the scores (1000,) of the first bundled world's stored images."""
    return CubicSpline(*stored_scores(FIRST_WORLD_SCORES))


@dataclass(frozen=True)
class Problem:
    """One curve with one noise: what a method searches.

    Attributes:
        family: Of `FAMILIES`.
        noise: "independent", or "images" for images whose effects are the same at every λ.
        stderr: s in units of J's range; for `prior_...`, in the surrogate's standardised units.
        seed: Seed of curve and noise. The curve does not depend on `noise` and `stderr`, so that
            these are compared on the same curves.
    """

    family: str
    noise: str
    stderr: float
    seed: int

    @cached_property
    def _raw(self) -> tuple[Curve, float, float]:
        """The curve before it is normalised, its minimum and its range."""
        curve = FAMILIES[self.family](self._rng(_CURVE))
        values = curve(LINE)
        return curve, values.min(), np.ptp(values)

    def curve(self, lam: Array) -> Array:
        """Return J at λs of any shape."""
        curve, low, width = self._raw
        return (curve(np.asarray(lam, dtype=float)) - low) / width

    @cached_property
    def best_lam(self) -> float:
        """The λ of the largest J; on a plateau the smallest."""
        return float(LINE[self.curve(LINE).argmax()])

    def regret(self, lam: float) -> float:
        """Return what J loses at λ against its maximum, in units of its range."""
        return float(np.clip(1 - self.curve(np.array(lam)), 0, 1))

    @property
    def _real_images(self) -> bool:
        return self.family == "miniature" and self.noise == "images"

    @cached_property
    def images(self) -> int:
        """Number of images in an evaluation: as many as give the wanted standard error."""
        if not self._real_images:
            return IMAGES
        variance = stored_scores(FIRST_WORLD_SCORES)[1].var(axis=1).mean()
        return round(variance / (self.stderr * self._raw[2]) ** 2)

    def scores(self, lam: float, evaluation: int, image_ids: Sequence[int] | None = None) -> Array:
        """Return the scores at λ of the requested images, by default of the first `images`.

        Args:
            lam: λ.
            evaluation: Its number, from 0; only independent noise depends on it.
            image_ids: Any numbers ≥ 0; the score of an image does not depend on the others.
        """
        ids = np.arange(self.images) if image_ids is None else np.asarray(image_ids)
        if self._real_images:
            chosen = self._by_image(ids, lambda rng: rng.integers(1000, size=_BLOCK), _IMAGE)
            return (_miniature_splines()(lam)[chosen] - self._raw[1]) / self._raw[2]
        unit = self._raw[2] if self.family in CALIBRATION_FAMILIES.values() else 1.0
        deviation = self.stderr * math.sqrt(IMAGES) / unit
        return self.curve(np.array(lam)) + deviation * self._standard_noise(lam, evaluation, ids)

    def _standard_noise(self, lam: float, evaluation: int, ids: NDArray[np.int64]) -> Array:
        if self.noise == "independent":
            return self._by_image(ids, lambda rng: rng.standard_normal(_BLOCK), _OWN, evaluation)
        basis = gp_basis(SMOOTH_LENGTHSCALE)(lam)
        columns = 1 + len(basis)
        image = self._by_image(ids, lambda rng: rng.standard_normal((_BLOCK, columns)), _IMAGE)
        own = self._by_image(ids, lambda rng: rng.standard_normal(_BLOCK), _OWN, self.own_key(lam))
        smooth = math.sqrt(SMOOTH_SHARE) * image[:, 1:] @ basis
        return math.sqrt(IMAGE_SHARE) * image[:, 0] + smooth + math.sqrt(OWN_SHARE) * own

    def own_key(self, lam: float) -> int:
        """Return what the independent errors at λ are drawn from, besides seed and image."""
        return int(np.float64(lam).view(np.uint64))

    def _by_image(
        self, ids: NDArray[np.int64], draw: Callable[[Generator], Array], *key: int
    ) -> Array:
        """Return random rows that depend on the image's number alone, drawn in blocks of images."""
        blocks, index = np.unique(ids // _BLOCK, return_inverse=True)
        table = np.stack([draw(self._rng(*key, int(block))) for block in blocks])
        return table[index, ids % _BLOCK]

    def _rng(self, *key: int) -> Generator:
        return np.random.default_rng([crc32(self.family.encode()), self.seed, *key])
