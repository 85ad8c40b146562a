"""Image files → data URIs small enough for one page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAGE_BYTES = 4_500_000
"""What the images of a page may take as data URIs, which leaves half a megabyte for the rest."""

_SMALL = 128
"""Images up to this many pixels are kept without loss: a codec would smear them."""

_SIZES = ((768, 85), (512, 82), (448, 78), (384, 75), (320, 70), (256, 65), (192, 55), (128, 45))
"""Longest side and WebP quality, tried in this order."""

_SAMPLE = 6
"""Number of images that tell how large all will be: encoding takes most of a report's time."""


@dataclass(frozen=True)
class Picture:
    """One image of a page.

    Attributes:
        source: A data URI.
        width: Of the image that was generated, in pixels.
        height: Of the same.
    """

    source: str
    width: int
    height: int


Files = Mapping[float, Sequence[Path | None]]
"""λ → image files of the same prompts in the same order; None leaves a gap."""

Pictures = Mapping[float, Sequence[Picture | None]]
"""λ → the images, likewise."""


def read_pictures(files: Files, limit: int = PAGE_BYTES) -> Pictures:
    """Return images as WebP, as large as the limit allows for all of them together.

    A file that cannot be read is left out, like one that is not there.

    Args:
        files: What to read.
        limit: Characters that all data URIs of the page may have together. It shows two λs before
            its script runs, so that their images are in it twice.
    """
    limit = round(limit / (1 + 2 / max(len(files), 1)))
    present = [file for row in files.values() for file in row if file is not None]
    found: Pictures = {}
    for longest, quality in _affordable(present, limit):
        found = {
            lam: [_picture(_opened(file), longest, quality) for file in row]
            for lam, row in files.items()
        }
        if _total([picture for row in found.values() for picture in row]) <= limit:
            break
    return found


def _affordable(files: Sequence[Path], limit: int) -> Sequence[tuple[int, int]]:
    """Return the sizes and qualities to try, from the first that a sample says may fit."""
    sample = [_opened(file) for file in files[:: max(len(files) // _SAMPLE, 1)]]
    largest = max((max(image.size) for image in sample if image is not None), default=0)
    smaller = [step for step in _SIZES if step[0] < largest]
    steps = [*_SIZES[: len(_SIZES) - len(smaller)][-1:], *smaller]
    for index, step in enumerate(steps):
        total = _total([_picture(image, *step) for image in sample])
        if total * len(files) <= limit * len(sample):
            return steps[index:]
    return steps[-1:]


def _total(pictures: Sequence[Picture | None]) -> int:
    return sum(len(each.source) for each in pictures if each is not None)


def _opened(file: Path | None) -> Any:
    """Return a file as an RGB image, None where there is none or a damaged one."""
    from PIL import Image, UnidentifiedImageError

    if file is None:
        return None
    try:
        with Image.open(file) as image:
            return image.convert("RGB")
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
        return None


def _picture(image: Any, longest: int, quality: int) -> Picture | None:
    if image is None:
        return None
    shown = image
    if max(image.size) > longest:
        shown = image.copy()
        shown.thumbnail((longest, longest))
    stream = io.BytesIO()
    shown.save(stream, "WEBP", lossless=max(shown.size) <= _SMALL, quality=quality, method=4)
    text = base64.b64encode(stream.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{text}", *image.size)
