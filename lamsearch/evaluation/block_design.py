"""Which images of the plan an evaluation sees.

On a fixed plan all evaluations see the same images: what these images prefer by chance stays in
the answer, however many λs are tried. A rotating plan shows each λ another part of a larger set.
Its blocks are the points of the Fano plane and an evaluation sees those of one line, so that any
two evaluations share a third of their images or all of them: enough to compare them in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

COMMON = 3
"""Number of images that every evaluation sees, also on a rotating plan, for people to compare."""

BLOCKS = 7
_LINE = (0, 1, 3)
"""Differences of any two of these, modulo 7, are 1 to 6, each once."""

_LEAST_ROTATING = COMMON + 2 * len(_LINE)


@dataclass(frozen=True)
class BlockDesign:
    """Assigns images to evaluations.

    Attributes:
        images: Number of images per evaluation.
        plan: "rotating" or "fixed"; very few images are not worth rotating and stay fixed.
    """

    images: int
    plan: str = "fixed"

    @property
    def total(self) -> int:
        """Number of images in the whole plan."""
        return COMMON + BLOCKS * self._block if self._rotates else self.images

    def image_ids(self, number: int) -> Sequence[int]:
        """Return the ids, in increasing order, of the images that evaluation `number` sees."""
        if not self._rotates:
            return range(self.images)
        rotating = [
            COMMON + (number + point) % BLOCKS * self._block + place
            for point in _LINE
            for place in range(self._block)
        ]
        return [*range(COMMON), *sorted(rotating[: self.images - COMMON])]

    @property
    def _rotates(self) -> bool:
        return self.plan == "rotating" and self.images >= _LEAST_ROTATING

    @property
    def _block(self) -> int:
        return math.ceil((self.images - COMMON) / len(_LINE))
