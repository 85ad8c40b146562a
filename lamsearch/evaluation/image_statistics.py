"""What can be measured of a picture without any model: an optimiser that hacks a reward moves it.

| name | meaning | range |
|---|---|---|
| mean chroma | mean over the pixels of the largest less the smallest channel | 0 to 1 |
| dark pixels | share of the pixels whose luma is below `DARK` | 0 to 1 |
| edge density | share of the pixels whose luma changes by more than `EDGE` per pixel | 0 to 1 |
| sharpness | standard deviation of the Laplacian of luma | 0 to 4 |
| colour entropy | entropy in bits of the colours in 8 × 8 × 8 cells | 0 to 9 |

Luma is Y' of ITU-R BT.601 from 0 to 1. Everything is per pixel, so the figures of images of another
size are others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

STATISTICS = ("mean chroma", "dark pixels", "edge density", "sharpness", "colour entropy")
DARK = 0.1
EDGE = 0.1

_BITS = 3
"""Bits of each channel that tell colours apart."""


def image_statistics(images: Sequence[Image | None]) -> dict[str, list[float]]:
    """Return the statistics of B images by name, B numbers each; NaN for an image that is None."""
    rows = [
        [float("nan")] * len(STATISTICS) if image is None else picture_statistics(image)
        for image in images
    ]
    return {name: [row[i] for row in rows] for i, name in enumerate(STATISTICS)}


def picture_statistics(image: Image) -> list[float]:
    """Return the statistics of one picture in the order of `STATISTICS`."""
    colours = np.asarray(image.convert("RGB"))
    luma: NDArray[np.floating] = np.asarray(image.convert("L"), dtype=np.float32) / 255
    channels = [colours[..., channel] for channel in range(3)]
    chroma = np.mean(np.maximum.reduce(channels) - np.minimum.reduce(channels)) / 255
    down, right = np.diff(luma, axis=0)[:, :-1], np.diff(luma, axis=1)[:-1]
    slopes = down * down + right * right
    figures = (
        chroma,
        np.mean(luma < DARK),
        np.mean(slopes > EDGE**2) if slopes.size else 0.0,
        _laplacian(luma).std() if min(luma.shape) > 2 else 0.0,
        _entropy(channels),
    )
    return [float(figure) for figure in figures]


def _laplacian(luma: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the five-point Laplacian (h − 2, w − 2) of luma (h, w)."""
    vertical = luma[:-2, 1:-1] + luma[2:, 1:-1]
    horizontal = luma[1:-1, :-2] + luma[1:-1, 2:]
    laplacian: NDArray[np.floating] = vertical + horizontal - 4 * luma[1:-1, 1:-1]
    return laplacian


def _entropy(channels: Sequence[NDArray[np.uint8]]) -> float:
    """Return the entropy in bits of the cells in which the colours lie, three channels (h, w)."""
    red, green, blue = ((channel >> (8 - _BITS)).astype(np.int64) for channel in channels)
    cells = (red << 2 * _BITS) | (green << _BITS) | blue
    counts = np.bincount(cells.ravel())
    shares = counts[counts > 0] / cells.size
    return float(-(shares * np.log2(shares)).sum())
