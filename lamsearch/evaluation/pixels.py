"""What a pipeline returned → the pixels of images and videos, and whether they can be used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamsearch.errors import EvaluationError

_ROUNDS_TO_LEVEL = 0.5 / 255
"""What lies further outside of 0 to 1 would become another of the 256 levels."""


def frames_of(result: Any, count: int) -> NDArray[np.floating[Any]]:
    """Return generated pixels, (B, frames, h, w, c), from 0 to 1; an image is one frame.

    Args:
        result: What a call of the pipeline returned, with `images` or `frames`.
        count: B, the number of prompts.

    Raises:
        EvaluationError: If it is anything but that, as where a pipeline ignores `output_type="np"`.
    """
    videos = getattr(result, "frames", None)
    given = getattr(result, "images", None) if videos is None else videos
    try:
        pixels = np.asarray(given)
    except ValueError as error:  # images of different sizes
        raise _unusable(f"a {type(given).__name__} of unequal images", count) from error
    if videos is None and pixels.ndim == 4:
        pixels = pixels[:, None]
    if pixels.ndim != 5 or len(pixels) != count or pixels.dtype.kind != "f":
        raise _unusable(f"shape {pixels.shape} of {pixels.dtype}", count)
    finite = pixels[np.isfinite(pixels)]
    if finite.size and not (
        finite.min() >= -_ROUNDS_TO_LEVEL and finite.max() <= 1 + _ROUNDS_TO_LEVEL
    ):
        raise _unusable(f"pixels from {finite.min():g} to {finite.max():g}", count)
    return pixels


def is_usable(pixels: NDArray[np.floating[Any]]) -> bool:
    """Tell a picture (h, w, c) from one that is not finite, or of one colour, such as black."""
    return bool(np.isfinite(pixels).all()) and np.ptp(pixels, axis=(0, 1)).max() > 1 / 255


def _unusable(given: str, count: int) -> EvaluationError:
    return EvaluationError(
        f"the pipeline returned {given} for {count} prompts, expected ({count}, height, width, "
        'channels) of floats from 0 to 1, as output_type="np" gives'
    )
