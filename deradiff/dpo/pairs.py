"""Preference pairs, and what every stored form of them shares.

The columns are those of Pick-a-Pic (arXiv 2305.01569): `caption`, two images, and `label_0`, which
is 1 where the first image was preferred, 0 where the second one was, and 0.5 for a tie.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

_TIE = 0.5


class PreferencePair(NamedTuple):
    """Two RGB images of the same size for one prompt.

    Attributes:
        prompt: The text both images were generated from.
        preferred: The image that the rater preferred.
        rejected: The other image.
    """

    prompt: str
    preferred: Image.Image
    rejected: Image.Image


class PreferencePairs(Protocol):
    """Preference pairs, read one at a time: a list, or a class that opens images when asked."""

    def __len__(self) -> int:
        """Return the number of pairs."""

    def __getitem__(self, index: int, /) -> PreferencePair:
        """Return one pair."""


@runtime_checkable
class ShuffledPairs(Protocol):
    """Pairs that have an order of their own for an epoch, because some orders are slow to read."""

    def shuffled_indices(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return every index once, in a random order."""


def epoch_order(pairs: PreferencePairs, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order (len(pairs),) of the pairs in one epoch."""
    rng = np.random.default_rng([seed, epoch])
    if isinstance(pairs, ShuffledPairs):
        return pairs.shuffled_indices(rng)
    return rng.permutation(len(pairs))


def preferred_side(label: Any, *, where: str) -> int | None:
    """Return 0 or 1 for the preferred image of a row, None for a tie.

    Args:
        label: Its `label_0`, a number or a text.
        where: Name of file and row, for the error.

    Raises:
        ValueError: If the label is none of 0, 0.5 and 1.
    """
    try:
        value = float(label)
    except (TypeError, ValueError):
        value = float("nan")
    if value not in (0.0, _TIE, 1.0):
        raise ValueError(f"{where}: label_0 is {label!r}, expected 1, 0, or 0.5 for a tie")
    return None if value == _TIE else int(1 - value)


def require_columns(columns: set[str], wanted: tuple[str, ...], *, where: str) -> None:
    """Raise ValueError naming the columns that are missing, if any are."""
    missing = [name for name in wanted if name not in columns]
    if missing:
        raise ValueError(
            f"{where}: no column {', '.join(missing)}, expected {', '.join(wanted)}; there are "
            f"{', '.join(sorted(columns)) or 'none'}"
        )


def ordered_pair(
    prompt: Any,
    sources: tuple[Path | bytes, Path | bytes],
    *,
    side: int,
    resolution: int | None,
    where: str,
) -> PreferencePair:
    """Open both images of a row and return them with the preferred one first.

    Args:
        prompt: The caption.
        sources: The first and the second image, encoded or as a file.
        side: Index of the preferred image.
        resolution: Side in pixels of the square that both are resized and cropped to, about the
            centre; None keeps them, and then both must have the same size.
        where: Name of file and row, for the errors.

    Raises:
        ValueError: If the caption is no text, an image cannot be read, or the sizes differ.
    """
    if not isinstance(prompt, str):
        raise ValueError(f"{where}: the caption is {prompt!r}, expected a text")
    first, second = (_opened(source, resolution, where=where) for source in sources)
    if first.size != second.size:
        sizes = " and ".join(f"{width}x{height}" for width, height in (first.size, second.size))
        raise ValueError(
            f"{where}: the images have {sizes} pixels, expected one size: give a resolution"
        )
    images = (first, second)
    return PreferencePair(prompt, images[side], images[1 - side])


def _opened(source: Path | bytes, resolution: int | None, *, where: str) -> Image.Image:
    try:
        with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as file:
            image = file.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        name = f"{len(source)} bytes" if isinstance(source, bytes) else source.name
        raise ValueError(f"{where}: expected an image, cannot read {name} ({error})") from None
    if resolution is None:
        return image
    return ImageOps.fit(image, (resolution, resolution), Image.Resampling.LANCZOS)
